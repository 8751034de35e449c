/// One thing that can be wrong, looked at: what it is, how it is, and what to do.
package struct Diagnosis: Hashable, Sendable, Encodable, CustomStringConvertible {
    package enum State: String, Sendable, Encodable {
        case ok
        /// It works, but not as well or as safely as it should.
        case warning
        case problem
        /// It cannot be looked at because of something else.
        case skipped
    }

    /// What was looked at.
    package let check: String
    package let state: State
    /// How it is.
    package let finding: String
    /// What to do; nil where nothing is to be done.
    package let advice: String?
    /// Whether a registry does some good in spite of it.
    package let permitsServing: Bool

    private enum CodingKeys: CodingKey { case check, state, finding, advice }

    private init(
        _ check: String,
        _ state: State,
        _ finding: String,
        _ advice: String? = nil,
        permitsServing: Bool = true
    ) {
        (self.check, self.state, self.advice) = (check, state, advice)
        // Words of others may end a sentence that goes on here.
        self.finding = finding.hasSuffix(".") ? String(finding.dropLast()) : finding
        self.permitsServing = permitsServing
    }

    package static func ok(_ check: String, _ finding: String) -> Diagnosis { Diagnosis(check, .ok, finding) }

    package static func warning(_ check: String, _ finding: String, _ advice: String) -> Diagnosis {
        Diagnosis(check, .warning, finding, advice)
    }

    package static func problem(
        _ check: String,
        _ finding: String,
        _ advice: String,
        permitsServing: Bool = false
    ) -> Diagnosis {
        Diagnosis(check, .problem, finding, advice, permitsServing: permitsServing)
    }

    package static func skipped(_ check: String, _ finding: String) -> Diagnosis {
        Diagnosis(check, .skipped, finding)
    }

    /// One line.
    package var description: String {
        let line = "\(check): \(finding)." + (advice.map { " \($0)." } ?? "")
        return line.split(separator: "\n").joined(separator: " ")
    }
}

/// Why a registry must not start; found by `strata doctor` in the same words.
package struct CheckupError: Error, Hashable, CustomStringConvertible {
    package let problem: Diagnosis

    package var description: String { problem.description }
}

extension [Diagnosis] {
    /// - Throws: ``CheckupError`` for the first problem with which nothing can be served.
    package func throwFatal() throws {
        if let problem = first(where: { !$0.permitsServing }) { throw CheckupError(problem: problem) }
    }
}

/// What to keep and what to delete in a repository, a namespace or the whole registry: docs/retention.md.
package struct RetentionPolicy: Hashable, Sendable {
    package let rules: [RetentionRule]
    /// Tags that cannot be moved once they are pushed.
    package let immutable: [TagPattern]

    /// Most bytes of a document.
    package static let maximumSize = 64 * 1024
    package static let maximumRules = 100
    /// Most patterns of one list.
    package static let maximumPatterns = 100
    /// Most states of all regular expressions together: they bound what it costs to look at one tag.
    package static let maximumExpressionSize = 10_000
    /// Most of a rule's days: a hundred years.
    package static let maximumDays = 36_500
    /// Most tags that one rule keeps as the last.
    package static let maximumCount = 10_000
    /// Most characters of a rule's name.
    package static let maximumNameLength = 100

    /// - Throws: ``RetentionPolicyError`` with everything that is wrong.
    package init(decoding document: some Sequence<UInt8>) throws {
        let text = Array(document.prefix(Self.maximumSize + 1))
        guard text.count <= Self.maximumSize else { throw RetentionPolicyError("", Self.sizeProblem) }
        self = try Self(try Self.parse(text))
    }

    /// - Parameter key: where the policy stands in an object.
    /// - Throws: ``RetentionPolicyError`` with everything that is wrong.
    package init?(of key: String, in document: [UInt8]) throws {
        guard case .object(let members) = try Self.parse(document), let value = members[key], value != .null else {
            return nil
        }
        self = try Self(value)
    }

    private static func parse(_ text: [UInt8]) throws -> JSONValue {
        do {
            return try JSONValue(parsing: text)
        } catch {
            throw RetentionPolicyError("", error.description)
        }
    }

    private init(_ value: JSONValue) throws {
        var reader = RetentionPolicyReader()
        let policy = reader.policy(value)
        guard let policy, reader.problems.isEmpty else { throw RetentionPolicyError(problems: reader.problems) }
        guard policy.canonical.utf8.count <= Self.maximumSize else {
            throw RetentionPolicyError("", Self.sizeProblem + " It is kept with a space after each ':' and ','.")
        }
        self = policy
    }

    private static let sizeProblem = "The document is too long; at most \(maximumSize) bytes are accepted."

    init(rules: [RetentionRule], immutable: [TagPattern]) {
        self.rules = rules
        self.immutable = immutable
    }

    /// The document as it is stored and shown: the same rules in the same order, one a line. Decoding it gives an equal
    /// policy.
    package var canonical: String {
        var members = [#"  "version": 1"#]
        if !immutable.isEmpty { members.append(#"  "immutable": "# + Self.list(immutable)) }
        if !rules.isEmpty {
            members.append("  \"rules\": [\n" + rules.map { "    " + $0.canonical }.joined(separator: ",\n") + "\n  ]")
        }
        return "{\n" + members.joined(separator: ",\n") + "\n}\n"
    }

    fileprivate static func list(_ patterns: [TagPattern]) -> String {
        "[" + patterns.map { JSONValue.quoted($0.description) }.joined(separator: ", ") + "]"
    }
}

extension RetentionRule {
    fileprivate var canonical: String {
        var members: [String] = []
        if let name { members.append(#""name": "# + JSONValue.quoted(name)) }
        switch action {
        case .keepAlways: members.append(#""keep": "always""#)
        case .keepLast(let count, let order, let perPlatform):
            members += [#""keep": "last""#, #""count": \#(count)"#, #""by": "\#(order.rawValue)""#]
            if perPlatform { members.append(#""perPlatform": true"#) }
        case .keepUntagged: members.append(#""keep": "untagged""#)
        case .deleteUnused(let days): members += [#""delete": "unused""#, #""days": \#(days)"#]
        case .deleteOld(let days): members += [#""delete": "old""#, #""days": \#(days)"#]
        case .deleteRest: members.append(#""delete": "rest""#)
        case .deleteUntagged(let days): members += [#""delete": "untagged""#, #""days": \#(days)"#]
        }
        if !tags.isEmpty { members.append(#""tags": "# + RetentionPolicy.list(tags)) }
        return "{" + members.joined(separator: ", ") + "}"
    }
}

/// Everything that is wrong with a policy's document, so that its author mends it in one go.
package struct RetentionPolicyError: Error, Hashable, CustomStringConvertible {
    package struct Problem: Hashable, Sendable, CustomStringConvertible {
        /// Where, as in `rules[2].days`, counting from 0; empty for the document as a whole.
        package let path: String
        package let message: String

        package var description: String { path.isEmpty ? message : path + ": " + message }
    }

    package let problems: [Problem]

    package var description: String {
        guard problems.count != 1 else { return problems.map(\.description).joined() }
        return "The policy has \(problems.count) problems:" + problems.map { "\n  - \($0)" }.joined()
    }
}

extension RetentionPolicyError {
    init(_ path: String, _ message: String) { self.init(problems: [Problem(path: path, message: message)]) }
}

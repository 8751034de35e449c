/// A regular expression that matches a whole tag or does not, in time that is bounded by its size times the tag's length:
/// it is run as a set of states, without going back. Swift's own `Regex` goes back, and may do so without end.
struct RegularExpression: Hashable, Sendable {
    let text: String
    private let program: [Instruction]

    /// How many states it has: what it costs.
    var size: Int { program.count }

    /// Most states of one expression, after `{n,m}` is written out.
    static let maximumSize = 1_000

    enum Instruction: Hashable, Sendable {
        /// Takes one character.
        case one(of: CharacterSet128)
        /// Goes on in both places.
        case either(Int, Int)
        case jump(Int)
        case start, end
        case match
    }

    /// - Throws: ``RegularExpressionError``.
    init(parsing text: String) throws(RegularExpressionError) {
        var parser = RegularExpressionParser(text)
        let node = try parser.expression()
        guard node.size < Self.maximumSize else {
            throw RegularExpressionError(position: nil, reason: "it has more than \(Self.maximumSize) states")
        }
        self.text = text
        var program: [Instruction] = []
        node.append(to: &program)
        program.append(.match)
        self.program = program
    }

    func matches(_ name: String) -> Bool {
        let characters = Array(name.utf8)
        var states = States(count: program.count)
        add(0, to: &states, at: 0, of: characters.count)
        for (index, character) in characters.enumerated() {
            var next = States(count: program.count)
            for state in states.members {
                if case .one(let set) = program[state], set.contains(character) {
                    add(state + 1, to: &next, at: index + 1, of: characters.count)
                }
            }
            guard !next.members.isEmpty else { return false }
            states = next
        }
        return states.members.contains { program[$0] == .match }
    }

    /// Adds what is reached from there without taking a character.
    private func add(_ first: Int, to states: inout States, at position: Int, of length: Int) {
        var pending = [first]
        while let state = pending.popLast() {
            guard states.insert(state) else { continue }
            switch program[state] {
            case .either(let one, let other): pending += [one, other]
            case .jump(let target): pending.append(target)
            case .start: if position == 0 { pending.append(state + 1) }
            case .end: if position == length { pending.append(state + 1) }
            case .one, .match: break
            }
        }
    }

    private struct States {
        private(set) var members: [Int] = []
        private var isMember: [Bool]

        init(count: Int) { isMember = Array(repeating: false, count: count) }

        mutating func insert(_ state: Int) -> Bool {
            guard !isMember[state] else { return false }
            isMember[state] = true
            members.append(state)
            return true
        }
    }
}

/// Why a text is not a regular expression of ours. Positions count from 1.
struct RegularExpressionError: Error, Hashable, CustomStringConvertible {
    let position: Int?
    let reason: String

    var description: String { reason + (position.map { ", at character \($0)" } ?? "") }
}

/// Some of the 128 ASCII characters; a tag has no others.
struct CharacterSet128: Hashable, Sendable {
    private var low: UInt64 = 0
    private var high: UInt64 = 0

    init() {}

    init(_ characters: some Sequence<UInt8>) { for character in characters { insert(character) } }

    func contains(_ character: UInt8) -> Bool {
        switch character {
        case 0..<64: low & (1 << UInt64(character)) != 0
        case 64..<128: high & (1 << UInt64(character - 64)) != 0
        default: false
        }
    }

    mutating func insert(_ character: UInt8) {
        if character < 64 { low |= 1 << UInt64(character) } else { high |= 1 << UInt64(character - 64) }
    }

    mutating func formUnion(_ other: Self) {
        low |= other.low
        high |= other.high
    }

    var inverted: Self {
        var result = self
        result.low = ~low
        result.high = ~high
        return result
    }

    static let digits = Self(UInt8(ascii: "0")...UInt8(ascii: "9"))
    static let wordCharacters = Self(
        Array(UInt8(ascii: "a")...UInt8(ascii: "z")) + Array(UInt8(ascii: "A")...UInt8(ascii: "Z"))
            + Array(UInt8(ascii: "0")...UInt8(ascii: "9")) + [UInt8(ascii: "_")]
    )
}

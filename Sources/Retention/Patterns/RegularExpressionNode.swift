/// A regular expression as it was written.
indirect enum RegularExpressionNode: Hashable, Sendable {
    case one(of: CharacterSet128)
    case start, end
    case sequence([RegularExpressionNode])
    case choice([RegularExpressionNode])
    /// Without a most, any number of times.
    case repeated(RegularExpressionNode, least: Int, most: Int?)

    /// Instructions that it takes. No sum here overflows: a count is at most 1,000, and a size that is over the limit
    /// is not multiplied further.
    var size: Int {
        let size =
            switch self {
            case .one, .start, .end: 1
            case .sequence(let nodes): nodes.reduce(0) { $0 + $1.size }
            case .choice(let nodes): nodes.reduce(2 * (nodes.count - 1)) { $0 + $1.size }
            case .repeated(let node, let least, let most?): node.size * least + (node.size + 1) * (most - least)
            case .repeated(let node, let least, nil): node.size * (least + 1) + 2
            }
        return min(size, RegularExpression.maximumSize)
    }

    func append(to program: inout [RegularExpression.Instruction]) {
        switch self {
        case .one(let set): program.append(.one(of: set))
        case .start: program.append(.start)
        case .end: program.append(.end)
        case .sequence(let nodes): for node in nodes { node.append(to: &program) }
        case .choice(let nodes): Self.append(nodes, to: &program)
        case .repeated(let node, let least, let most):
            // What takes no instruction is not worth repeating, and repeated in itself might never come to an end.
            if node.size > 0 { for _ in 0..<least { node.append(to: &program) } }
            if let most {
                for _ in least..<most { Self.append(optional: node, to: &program) }
            } else {
                let loop = program.count
                Self.append(optional: .sequence([node, .one(of: CharacterSet128())]), to: &program)
                // The last place is the way back.
                program[program.count - 1] = .jump(loop)
            }
        }
    }

    /// `x?`. Since only whole tags match, `x{0,2}` may as well be `x?x?`.
    private static func append(optional node: Self, to program: inout [RegularExpression.Instruction]) {
        let fork = program.count
        program.append(.jump(fork))
        node.append(to: &program)
        program[fork] = .either(fork + 1, program.count)
    }

    private static func append(_ choices: [Self], to program: inout [RegularExpression.Instruction]) {
        var exits: [Int] = []
        for (index, node) in choices.enumerated() {
            guard index < choices.count - 1 else {
                node.append(to: &program)
                break
            }
            let fork = program.count
            program.append(.jump(fork))
            node.append(to: &program)
            exits.append(program.count)
            program.append(.jump(0))
            program[fork] = .either(fork + 1, program.count)
        }
        for exit in exits { program[exit] = .jump(program.count) }
    }
}

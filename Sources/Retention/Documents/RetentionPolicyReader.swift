/// Makes a policy of a document, and goes on after a problem to find the others.
struct RetentionPolicyReader {
    private(set) var problems: [RetentionPolicyError.Problem] = []
    private var expressionSize = 0

    /// Most problems that are told of.
    private static let maximumProblems = 100

    mutating func policy(_ value: JSONValue) -> RetentionPolicy? {
        guard case .object(let members) = value else {
            report("", "The document is \(value.kind); expected an object.")
            return nil
        }
        refuse(membersOf: members, except: ["version", "immutable", "rules"], at: "")
        switch members["version"] {
        case .integer(1): break
        case nil: report("version", "It is missing; expected 1.")
        default: report("version", "This version is not understood; expected 1.")
        }
        let immutable = members["immutable"].map { patterns($0, at: "immutable") } ?? []
        let rules = members["rules"].map { self.rules($0) } ?? []
        if expressionSize > RetentionPolicy.maximumExpressionSize {
            let most = RetentionPolicy.maximumExpressionSize
            report("", "The regular expressions have more than \(most) states together.")
        }
        return RetentionPolicy(rules: rules, immutable: immutable)
    }

    private mutating func report(_ path: String, _ message: String) {
        if problems.count < Self.maximumProblems { problems.append(.init(path: path, message: message)) }
    }

    private mutating func refuse(membersOf object: [String: JSONValue], except known: [String], at path: String) {
        for key in object.keys.sorted() where !known.contains(key) {
            let shown = JSONValue.quoted(String(key.prefix(RetentionPolicy.maximumNameLength)))
            report(path, "The key \(shown) does not belong here; there are \(known.joined(separator: ", ")).")
        }
    }

    // MARK: - Rules

    private mutating func rules(_ value: JSONValue) -> [RetentionRule] {
        guard case .array(let items) = value else {
            report("rules", "It is \(value.kind); expected a list.")
            return []
        }
        guard items.count <= RetentionPolicy.maximumRules else {
            report("rules", "There are \(items.count) rules; at most \(RetentionPolicy.maximumRules) are accepted.")
            return []
        }
        var names: Set<String> = []
        var rules: [RetentionRule] = []
        for (index, item) in items.enumerated() {
            guard let rule = rule(item, at: "rules[\(index)]") else { continue }
            rules.append(rule)
            if let name = rule.name, !names.insert(name).inserted {
                report("rules[\(index)].name", "Another rule has this name too; names are unique in a policy.")
            }
        }
        refuseRestWithoutKeep(items)
        return rules
    }

    /// Without a rule that keeps some, "the rest" would be everything.
    private mutating func refuseRestWithoutKeep(_ items: [JSONValue]) {
        let rules = items.map { item -> [String: JSONValue] in
            if case .object(let members) = item { members } else { [:] }
        }
        let keepers: [JSONValue?] = [.string("always"), .string("last")]
        guard !rules.contains(where: { keepers.contains($0["keep"]) }) else { return }
        for (index, rule) in rules.enumerated() where rule["delete"] == .string("rest") {
            report("rules[\(index)].delete", "The rest of nothing is everything; add a rule that keeps tags.")
        }
    }

    private mutating func rule(_ value: JSONValue, at path: String) -> RetentionRule? {
        guard case .object(let members) = value else {
            report(path, "It is \(value.kind); expected an object.")
            return nil
        }
        let name = members["name"].flatMap { self.name($0, at: path + ".name") }
        let tags = members["tags"].map { patterns($0, at: path + ".tags") } ?? []
        guard let form = form(members, at: path) else { return nil }
        let keys = ["name", form.verb] + form.keys + (form.looksAtTags ? ["tags"] : [])
        refuse(membersOf: members, except: keys, at: path)
        guard let action = action(form, members, at: path) else { return nil }
        return RetentionRule(name: name, action: action, tags: tags)
    }

    /// What a rule is written as: `keep` or `delete` with one of these words, and the keys that go with it.
    private enum Form: CaseIterable {
        case keepAlways, keepLast, keepUntagged, deleteUnused, deleteOld, deleteRest, deleteUntagged

        var verb: String {
            switch self {
            case .keepAlways, .keepLast, .keepUntagged: "keep"
            case .deleteUnused, .deleteOld, .deleteRest, .deleteUntagged: "delete"
            }
        }

        var word: String {
            switch self {
            case .keepAlways: "always"
            case .keepLast: "last"
            case .keepUntagged, .deleteUntagged: "untagged"
            case .deleteUnused: "unused"
            case .deleteOld: "old"
            case .deleteRest: "rest"
            }
        }

        var keys: [String] {
            switch self {
            case .keepLast: ["count", "by", "perPlatform"]
            case .deleteUnused, .deleteOld, .deleteUntagged: ["days"]
            case .keepAlways, .keepUntagged, .deleteRest: []
            }
        }

        var looksAtTags: Bool { word != "untagged" }
    }

    private mutating func form(_ members: [String: JSONValue], at path: String) -> Form? {
        let verb: String
        switch (members["keep"], members["delete"]) {
        case (.some, nil): verb = "keep"
        case (nil, .some): verb = "delete"
        case (nil, nil), (.some, .some):
            report(path, "A rule has either 'keep' or 'delete'.")
            return nil
        }
        let forms = Form.allCases.filter { $0.verb == verb }
        if case .string(let word) = members[verb], let form = forms.first(where: { $0.word == word }) { return form }
        report(path + "." + verb, "Expected one of \(forms.map(\.word).joined(separator: ", ")).")
        return nil
    }

    private mutating func action(
        _ form: Form,
        _ members: [String: JSONValue],
        at path: String
    ) -> RetentionRule.Action? {
        switch form {
        case .keepAlways: return .keepAlways
        case .keepUntagged: return .keepUntagged
        case .deleteRest: return .deleteRest
        case .deleteUnused: return days(members, at: path).map { .deleteUnused(days: $0) }
        case .deleteOld: return days(members, at: path).map { .deleteOld(days: $0) }
        case .deleteUntagged: return days(members, at: path).map { .deleteUntagged(days: $0) }
        case .keepLast:
            let count = number("count", of: members, upTo: RetentionPolicy.maximumCount, at: path)
            let order = order(members["by"], at: path + ".by")
            let perPlatform = flag(members["perPlatform"], at: path + ".perPlatform")
            guard let count, let order, let perPlatform else { return nil }
            return .keepLast(count: count, by: order, perPlatform: perPlatform)
        }
    }

    // MARK: - Values

    private mutating func days(_ members: [String: JSONValue], at path: String) -> Int? {
        number("days", of: members, upTo: RetentionPolicy.maximumDays, at: path)
    }

    private mutating func number(
        _ key: String,
        of members: [String: JSONValue],
        upTo most: Int,
        at path: String
    ) -> Int? {
        if case .integer(let number) = members[key], (1...most).contains(number) { return number }
        let problem = members[key] == nil ? "It is missing; expected" : "Expected"
        report(path + "." + key, "\(problem) a whole number from 1 to \(most).")
        return nil
    }

    private mutating func order(_ value: JSONValue?, at path: String) -> RetentionRule.Order? {
        if case .string(let word) = value, let order = RetentionRule.Order(rawValue: word) { return order }
        let words = RetentionRule.Order.allCases.map(\.rawValue).joined(separator: ", ")
        report(path, (value == nil ? "It is missing; expected" : "Expected") + " one of \(words).")
        return nil
    }

    private mutating func flag(_ value: JSONValue?, at path: String) -> Bool? {
        switch value {
        case nil: return false
        case .boolean(let flag): return flag
        default:
            report(path, "Expected true or false.")
            return nil
        }
    }

    private mutating func name(_ value: JSONValue, at path: String) -> String? {
        let most = RetentionPolicy.maximumNameLength
        if case .string(let name) = value, (1...most).contains(name.unicodeScalars.count),
            name.unicodeScalars.allSatisfy({ $0.properties.generalCategory != .control })
        {
            return name
        }
        report(path, "Expected text of 1 to \(most) characters on one line.")
        return nil
    }

    private mutating func patterns(_ value: JSONValue, at path: String) -> [TagPattern] {
        guard case .array(let items) = value, (1...RetentionPolicy.maximumPatterns).contains(items.count) else {
            report(path, "Expected a list of 1 to \(RetentionPolicy.maximumPatterns) patterns.")
            return []
        }
        return items.enumerated().compactMap { index, item in pattern(item, at: "\(path)[\(index)]") }
    }

    private mutating func pattern(_ value: JSONValue, at path: String) -> TagPattern? {
        guard case .string(let text) = value else {
            report(path, "It is \(value.kind); expected a pattern.")
            return nil
        }
        // Once they cost too much, no more are made.
        guard expressionSize <= RetentionPolicy.maximumExpressionSize else { return nil }
        do {
            let pattern = try TagPattern(parsing: text)
            expressionSize += pattern.size
            return pattern
        } catch {
            report(path, "\(error)")
            return nil
        }
    }
}

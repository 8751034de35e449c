import Synchronization

/// What the process counts, in the order in which it was registered. One per process, made in the composition.
package final class Metrics: Sendable {
    private let families = Mutex<[any MetricFamily]>([])

    package init() {}

    package func counter(_ name: String, help: String, labels: [String] = []) -> Counter {
        register(Counter(name: name, help: help, kind: "counter", labels: labels))
    }

    package func gauge(_ name: String, help: String, labels: [String] = []) -> Counter {
        register(Counter(name: name, help: help, kind: "gauge", labels: labels))
    }

    /// - Parameter bounds: upper bounds of the buckets, ascending, in the unit that the name ends in.
    package func histogram(_ name: String, help: String, labels: [String] = [], bounds: [Double]) -> Histogram {
        register(Histogram(name: name, help: help, labels: labels, bounds: bounds))
    }

    private func register<Family: MetricFamily>(_ family: Family) -> Family {
        families.withLock { $0.append(family) }
        return family
    }

    /// Source: [Prometheus text format 0.0.4](https://prometheus.io/docs/instrumenting/exposition_formats/).
    package var text: String {
        families.withLock { $0 }.map(\.text).joined()
    }
}

protocol MetricFamily: Sendable {
    var text: String { get }
}

/// A number per combination of label values that goes up, and as a gauge also down.
package final class Counter: MetricFamily {
    private let name: String
    private let help: String
    private let kind: String
    private let labels: [String]
    private let values = Mutex<[[String]: Int64]>([:])

    init(name: String, help: String, kind: String, labels: [String]) {
        (self.name, self.help, self.kind, self.labels) = (name, help, kind, labels)
        if labels.isEmpty { values.withLock { $0[[]] = 0 } }
    }

    /// - Parameter labelValues: in the order in which the labels were registered.
    package func add(_ amount: Int64 = 1, _ labelValues: String...) {
        precondition(labelValues.count == labels.count, "\(name) has the labels \(labels)")
        values.withLock { $0[labelValues, default: 0] += amount }
    }

    package func set(_ value: Int64, _ labelValues: String...) {
        precondition(labelValues.count == labels.count, "\(name) has the labels \(labels)")
        values.withLock { $0[labelValues] = value }
    }

    package var value: Int64 { values.withLock { $0[[]] ?? 0 } }

    var text: String {
        header(name, help, kind)
            + values.withLock { $0 }.sorted { $0.key.lexicographicallyPrecedes($1.key) }
            .map { "\(name)\(labelText(labels, $0.key)) \($0.value)\n" }.joined()
    }
}

/// How observed values are spread.
package final class Histogram: MetricFamily {
    fileprivate struct Series {
        var buckets: [Int64]
        var sum = 0.0
        var count: Int64 = 0
    }

    private let name: String
    private let help: String
    private let labels: [String]
    private let bounds: [Double]
    private let series = Mutex<[[String]: Series]>([:])

    init(name: String, help: String, labels: [String], bounds: [Double]) {
        (self.name, self.help, self.labels, self.bounds) = (name, help, labels, bounds)
    }

    package func observe(_ value: Double, _ labelValues: String...) {
        precondition(labelValues.count == labels.count, "\(name) has the labels \(labels)")
        let bucket = bounds.firstIndex { value <= $0 }
        series.withLock { all in
            all[labelValues, default: Series(buckets: Array(repeating: 0, count: bounds.count))].record(
                value,
                in: bucket
            )
        }
    }

    var text: String {
        var out = header(name, help, "histogram")
        for (values, one) in series.withLock({ $0 }).sorted(by: { $0.key.lexicographicallyPrecedes($1.key) }) {
            var total: Int64 = 0
            for (bound, count) in zip(bounds, one.buckets) {
                total += count
                out += "\(name)_bucket\(labelText(labels + ["le"], values + ["\(bound)"])) \(total)\n"
            }
            out += "\(name)_bucket\(labelText(labels + ["le"], values + ["+Inf"])) \(one.count)\n"
            out += "\(name)_sum\(labelText(labels, values)) \(one.sum)\n"
            out += "\(name)_count\(labelText(labels, values)) \(one.count)\n"
        }
        return out
    }
}

extension Histogram.Series {
    fileprivate mutating func record(_ value: Double, in bucket: Int?) {
        if let bucket { buckets[bucket] += 1 }
        sum += value
        count += 1
    }
}

private func header(_ name: String, _ help: String, _ kind: String) -> String {
    "# HELP \(name) \(help)\n# TYPE \(name) \(kind)\n"
}

private func labelText(_ names: [String], _ values: [String]) -> String {
    guard !names.isEmpty else { return "" }
    let pairs = zip(names, values).map { name, value in
        var escaped = ""
        for character in value {
            switch character {
            case "\\": escaped += "\\\\"
            case "\"": escaped += "\\\""
            case "\n": escaped += "\\n"
            default: escaped.append(character)
            }
        }
        return "\(name)=\"\(escaped)\""
    }
    return "{" + pairs.joined(separator: ",") + "}"
}

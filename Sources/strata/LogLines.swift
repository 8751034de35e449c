import Foundation
import Logging
import Synchronization

/// Writes log lines to standard error: `time level message key=value …` for people, or one JSON object for machines.
struct LogLines: LogHandler {
    let format: Configuration.Log.Format
    var logLevel: Logger.Level
    var metadata: Logger.Metadata = [:]

    init(_ log: Configuration.Log) {
        format = log.format
        logLevel = Logger.Level(rawValue: log.level.rawValue) ?? .info
    }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        let facts = metadata.merging(event.metadata ?? [:]) { $1 }.sorted { $0.key < $1.key }
        let time = Date().formatted(Date.ISO8601FormatStyle(includingFractionalSeconds: true))
        var line: String
        switch format {
        case .text:
            line = "\(time) \(event.level) \(event.message)"
            for (key, value) in facts { line += " \(key)=\(Self.plain("\(value)"))" }
        case .json:
            line = #"{"time":"\#(time)","level":"\#(event.level)","message":\#(Self.quoted("\(event.message)"))"#
            for (key, value) in facts { line += ",\(Self.quoted(key)):\(Self.json(value))" }
            line += "}"
        }
        FileHandle.standardError.write(Data((line + "\n").utf8))
    }

    private static func json(_ value: Logger.Metadata.Value) -> String {
        if case .stringConvertible(let number) = value, number is any BinaryInteger { return "\(number)" }
        return quoted("\(value)")
    }

    /// Control characters of a client's text must not look like lines of ours.
    private static func plain(_ text: String) -> String {
        text.unicodeScalars.contains { $0 == " " || $0 == "\"" || $0.value < 32 || $0.value == 127 }
            ? quoted(text) : text
    }

    private static func quoted(_ text: String) -> String {
        var out = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": out += "\\\""
            case "\\": out += "\\\\"
            case "\n": out += "\\n"
            case "\r": out += "\\r"
            case "\t": out += "\\t"
            default:
                if scalar.value < 32 || scalar.value == 127 {
                    let digits = String(scalar.value, radix: 16)
                    out += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
                } else {
                    out.unicodeScalars.append(scalar)
                }
            }
        }
        return out + "\""
    }
}

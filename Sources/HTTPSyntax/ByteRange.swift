/// What a `Range` header asks of content with a known size.
/// Source: [RFC 9110, 14](https://www.rfc-editor.org/rfc/rfc9110#section-14).
package enum ByteRange: Hashable, Sendable {
    /// All of it: there is no range, more than one, or one that is not understood.
    case whole
    case part(Range<Int64>)
    case unsatisfiable

    package init(_ header: String?, size: Int64) {
        guard let header, let spec = Self.onlySpec(of: header) else {
            self = .whole
            return
        }
        let ends = spec.split(separator: "-", maxSplits: 1, omittingEmptySubsequences: false)
        guard ends.count == 2 else {
            self = .whole
            return
        }
        switch (ends[0].isEmpty ? nil : Self.number(ends[0]), ends[1].isEmpty ? nil : Self.number(ends[1])) {
        case (let first?, let last?):
            if last < first { self = .whole } else { self = Self.part(from: first, to: last, size: size) }
        case (let first?, nil) where ends[1].isEmpty:
            self = Self.part(from: first, to: .max - 1, size: size)
        case (nil, let length?) where ends[0].isEmpty:
            self = length == 0 || size == 0 ? .unsatisfiable : .part(max(0, size - length)..<size)
        default:
            self = .whole
        }
    }

    private static func part(from first: Int64, to last: Int64, size: Int64) -> ByteRange {
        first < size ? .part(first..<min(last + 1, size)) : .unsatisfiable
    }

    private static func onlySpec(of header: String) -> String? {
        let parts = header.split(separator: "=", maxSplits: 1)
        guard parts.count == 2, parts[0].trimmed.lowercased() == "bytes", !parts[1].contains(",") else { return nil }
        return parts[1].trimmed
    }

    /// Digits only. A number too large for us is larger than any content: it stands for the end.
    package static func number(_ text: some StringProtocol) -> Int64? {
        guard !text.isEmpty, text.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }) else {
            return nil
        }
        return min(Int64(text) ?? .max - 1, .max - 1)
    }
}

/// The `Content-Range` of an upload's chunk: `first-last`, both inclusive; `bytes ` before and `/total` behind are let
/// pass, as RFC 9110 has them.
package enum ContentRange {
    /// Nil if the text is not a range.
    package static func parse(_ header: some StringProtocol) -> ClosedRange<Int64>? {
        var text = header.trimmed
        if text.lowercased().hasPrefix("bytes") { text = text.dropFirst(5).drop { $0 == " " || $0 == "=" }.trimmed }
        let ends = text.prefix { $0 != "/" }.split(separator: "-", omittingEmptySubsequences: false)
        guard ends.count == 2, let first = ByteRange.number(ends[0]), let last = ByteRange.number(ends[1]),
            first <= last
        else { return nil }
        return first...last
    }
}

/// The parameters behind the `?`, in their order, but for those whose value is no text: it has a zero, which PostgreSQL
/// takes in none, or is not rightly encoded.
package struct QueryParameters {
    package let items: [(name: String, value: String)]

    package init(_ text: Substring) {
        items = text.utf8.split(separator: UInt8(ascii: "&")).compactMap { item in
            let pair = item.split(separator: UInt8(ascii: "="), maxSplits: 1, omittingEmptySubsequences: false)
            guard let name = percentDecoded(Substring(pair[0]), plusIsSpace: true),
                let value = percentDecoded(pair.count > 1 ? Substring(pair[1]) : "", plusIsSpace: true),
                !value.utf8.contains(0)
            else { return nil }
            return (name, value)
        }
    }

    package subscript(_ name: String) -> String? { items.first { $0.name == name }?.value }
    package func all(_ name: String) -> [String] { items.filter { $0.name == name }.map(\.value) }
}

/// Nil if a percent sign is not followed by two hexadecimal digits, or the bytes are not UTF-8.
package func percentDecoded(_ text: Substring, plusIsSpace: Bool) -> String? {
    let isPlain = text.utf8.withContiguousStorageIfAvailable {
        !$0.contains(UInt8(ascii: "%")) && !$0.contains(UInt8(ascii: "+"))
    }
    if isPlain == true { return String(text) }
    var bytes: [UInt8] = []
    var rest = text.utf8.makeIterator()
    while let byte = rest.next() {
        switch byte {
        case UInt8(ascii: "%"):
            guard let high = rest.next(), let low = rest.next(),
                let value = UInt8(String(decoding: [high, low], as: UTF8.self), radix: 16), high != UInt8(ascii: "+")
            else { return nil }
            bytes.append(value)
        case UInt8(ascii: "+") where plusIsSpace: bytes.append(UInt8(ascii: " "))
        default: bytes.append(byte)
        }
    }
    return String(validating: bytes, as: UTF8.self)
}

/// All but RFC 3986's unreserved characters as `%XX`, so that the text can be a query's value.
package func percentEncoded(_ text: String) -> String {
    var out = ""
    for byte in text.utf8 {
        let scalar = Unicode.Scalar(byte)
        if scalar.isASCII,
            scalar.properties.isAlphabetic || ("0"..."9").contains(scalar) || "-._~".unicodeScalars.contains(scalar)
        {
            out.unicodeScalars.append(scalar)
        } else {
            let digits = String(byte, radix: 16, uppercase: true)
            out += digits.count == 1 ? "%0" + digits : "%" + digits
        }
    }
    return out
}

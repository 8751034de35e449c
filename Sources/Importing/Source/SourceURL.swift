/// An address at the source: `https://old.example.com:443/v2/…`. The path and the query stay as they were written: signed
/// addresses must not change by a letter.
struct SourceURL: Hashable, Sendable, CustomStringConvertible {
    let isSecure: Bool
    /// Lower-cased, with a port unless it is the scheme's own.
    let authority: String
    /// Path and query, from the first slash on.
    let target: String

    private init(isSecure: Bool, authority: String, target: String) {
        (self.isSecure, self.authority, self.target) = (isSecure, authority, target)
    }

    /// Nil unless the text is `http://` or `https://`, a host without a user, and perhaps a path and a query.
    init?(_ text: some StringProtocol) {
        let lower = text.prefix("https://".count).lowercased()
        guard let scheme = ["http://", "https://"].first(where: { lower.hasPrefix($0) }) else { return nil }
        isSecure = scheme == "https://"
        let rest = text.dropFirst(scheme.count).prefix { $0 != "#" }
        let host = rest.prefix { $0 != "/" && $0 != "?" }
        guard !host.isEmpty, !host.contains("@"), !rest.contains(where: \.isWhitespace) else { return nil }
        let standardPort = isSecure ? ":443" : ":80"
        authority = String(host.hasSuffix(standardPort) ? host.dropLast(standardPort.count) : host[...]).lowercased()
        let target = rest.dropFirst(host.count)
        self.target = target.hasPrefix("/") ? String(target) : "/" + target
    }

    var description: String { (isSecure ? "https://" : "http://") + authority + target }

    /// The same server, another path.
    func with(target: String) -> SourceURL { SourceURL(isSecure: isSecure, authority: authority, target: target) }

    /// Whether a password that was given to one may be shown to the other.
    func hasSameOrigin(as other: SourceURL) -> Bool { isSecure == other.isSecure && authority == other.authority }

    /// What `Location` or `Link` of an answer from here means.
    func resolving(_ reference: some StringProtocol) -> SourceURL? {
        if reference.hasPrefix("//") { return SourceURL((isSecure ? "https:" : "http:") + reference) }
        if reference.hasPrefix("/") { return SourceURL(with(target: "/").description + reference.dropFirst()) }
        if let absolute = SourceURL(reference) { return absolute }
        guard !reference.isEmpty, !reference.contains("://") else { return nil }
        let path = target.prefix { $0 != "?" }
        if reference.hasPrefix("?") { return SourceURL(with(target: String(path)).description + reference) }
        let folder = path[...(path.lastIndex(of: "/") ?? path.startIndex)]
        return SourceURL(with(target: String(folder)).description + reference)
    }

    /// What follows a page of a list, as `Link` headers say it; nil after the last page.
    /// Source: [RFC 8288, 3](https://www.rfc-editor.org/rfc/rfc8288#section-3).
    ///
    /// Only path and query are taken: a registry behind a proxy may not know by which name it is reached, and a list
    /// that goes on at another host would be asked for with our password.
    func next(_ links: [String]) -> SourceURL? {
        for link in links.flatMap({ $0.split(separator: ",") }) {
            guard let open = link.firstIndex(of: "<"), let close = link.firstIndex(of: ">"), open < close else {
                continue
            }
            let parameters = link[close...].lowercased().filter { $0 != "\"" && $0 != " " }
            guard parameters.split(separator: ";").contains("rel=next") else { continue }
            return resolving(link[link.index(after: open)..<close]).map { with(target: $0.target) }
        }
        return nil
    }
}

/// Writes `docs/configuration.md`.
enum ConfigurationDocumentation {
    static var markdown: String { ([introduction] + ConfigurationKey.all.map(section)).joined(separator: "\n") }

    private static func section(_ key: ConfigurationKey) -> String {
        """
        ### `\(key.name)`

        \(wrapped(key.documentation))

        - Value: \(key.expected)
        - Default: \(key.standard.isEmpty ? "empty" : "`\(key.standard)`")
        - Environment: `\(key.variable)`

        """
    }

    /// Lines of at most 100 characters, broken between words.
    private static func wrapped(_ text: String) -> String {
        var lines = [""]
        for word in text.split(separator: " ") {
            let line = lines[lines.count - 1]
            if line.isEmpty {
                lines[lines.count - 1] = String(word)
            } else if line.count + 1 + word.count <= 100 {
                lines[lines.count - 1] = "\(line) \(word)"
            } else {
                lines.append(String(word))
            }
        }
        return lines.joined(separator: "\n")
    }

    private static let introduction = """
        # Configuration

        <!-- Written by `strata config docs`; change Sources/strata/ConfigurationKeys.swift instead. -->

        Nothing has to be configured: `strata serve` listens on loopback and keeps everything in one folder. What you do
        configure comes from four places; where several set the same key, the later one wins:

        1. the defaults below,
        2. a YAML file, named with `--config FILE` or `STRATA_CONFIG`,
        3. environment variables: `STRATA_` and the key in capitals, with `_` for `.` and `-`,
        4. options: `--set KEY=VALUE` for any key, then `--data`, `--listen`, `--log-level` and `--log-format`.

        In the file, sections may be nested or written with dots; these two say the same:

        ```yaml
        data: /var/lib/strata
        listen: "[::]:5000"
        tls:
          certificate: /etc/strata/registry.pem
          key: /etc/strata/registry.key
        ```

        ```yaml
        data: /var/lib/strata
        listen: "[::]:5000"
        tls.certificate: /etc/strata/registry.pem
        tls.key: /etc/strata/registry.key
        ```

        Unknown keys and wrong values are errors, and all of them are reported at once; `strata config check` does so
        without starting a server. `strata config print` shows each value and where it came from, with `--json` for
        machines. The configuration is read once, at start.

        In a Kubernetes pod, the variables `STRATA_SERVICE_…` and `STRATA_PORT…`, which Kubernetes itself sets for a
        service called `strata`, are ignored.

        ## Keys

        """
}

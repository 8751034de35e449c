extension String {
    /// Without what a terminal would obey, or would show elsewhere than it stands: for words of the source.
    var printable: String {
        String(
            unicodeScalars.filter {
                switch $0.properties.generalCategory {
                case .control, .format, .lineSeparator, .paragraphSeparator: false
                default: true
                }
            }
        )
    }
}

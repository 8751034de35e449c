/// Which Strata this is.
enum Version {
    /// As in Semantic Versioning 2.0.0; raised by the change that is released.
    static let current = "0.1.0"
}

/// Why an operation failed, as a sentence for the person at the terminal.
package struct LoadError: Error, CustomStringConvertible {
    package let description: String

    init(_ description: String) { self.description = description }
}

import FoundationEssentials
import Glibc

/// Reads from `/proc` what the server's processes use.
struct ServerMeter: Sendable {
    let processes: [Int32]

    /// User and system time so far, of all threads, in seconds. The kernel counts in ticks, of 10 ms as a rule.
    func cpuSeconds() throws -> Double {
        let ticks = try processes.reduce(0) { sum, process in
            let text = try contents("stat", of: process)
            // The second field is the program's name in brackets and may hold anything; state is the one after it.
            let fields = text[(text.lastIndex(of: ")") ?? text.startIndex)...].split(separator: " ")
            guard fields.count > 13, let user = Int(fields[12]), let system = Int(fields[13]) else {
                throw LoadError("/proc/\(process)/stat is not as expected.")
            }
            return sum + user + system
        }
        return Double(ticks) / Double(sysconf(Int32(_SC_CLK_TCK)))
    }

    /// Lets the peak start again at what is resident now. Needs the server's own user or root.
    func resetPeak() throws {
        for process in processes {
            let file = open("/proc/\(process)/clear_refs", O_WRONLY | O_CLOEXEC)
            defer { close(file) }
            guard file >= 0, write(file, "5", 1) == 1 else {
                throw LoadError("The peak memory of process \(process) cannot be reset; run as the server's user.")
            }
        }
    }

    /// Most resident memory since ``resetPeak()``, in bytes.
    func peakResidentBytes() throws -> Int {
        try processes.reduce(0) { sum, process in
            let line = try contents("status", of: process).split(separator: "\n").first { $0.hasPrefix("VmHWM:") }
            guard let kilobytes = line?.split(separator: " ").dropLast().last.flatMap({ Int($0) }) else {
                throw LoadError("/proc/\(process)/status has no VmHWM.")
            }
            return sum + kilobytes * 1024
        }
    }

    private func contents(_ name: String, of process: Int32) throws -> String {
        let path = "/proc/\(process)/\(name)"
        guard let data = FileManager.default.contents(atPath: path) else { throw LoadError("\(path) cannot be read.") }
        return String(decoding: data, as: UTF8.self)
    }
}

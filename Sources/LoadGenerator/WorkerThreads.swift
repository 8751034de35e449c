import Glibc

/// Runs the body on so many threads at once, each with its number, and returns when all have ended. Threads and not tasks:
/// a worker blocks in the kernel most of the time, and the scheduler of tasks has only as many threads as processors.
func onThreads(_ count: Int, _ body: @escaping @Sendable (Int) -> Void) throws {
    var threads: [pthread_t] = []
    defer { for thread in threads { pthread_join(thread, nil) } }
    for number in 0..<count {
        let start = Unmanaged.passRetained(ThreadStart { body(number) })
        var thread = pthread_t()
        let problem = pthread_create(
            &thread,
            nil,
            { argument in
                guard let argument else { return nil }
                Unmanaged<ThreadStart>.fromOpaque(argument).takeRetainedValue().body()
                return nil
            },
            start.toOpaque()
        )
        guard problem == 0 else {
            start.release()
            throw LoadError("No more than \(number) threads can be started: \(String(cString: strerror(problem))).")
        }
        threads.append(thread)
    }
}

/// What a thread gets to run, as an object because pthreads hand over a pointer.
private final class ThreadStart: Sendable {
    let body: @Sendable () -> Void
    init(_ body: @escaping @Sendable () -> Void) { self.body = body }
}

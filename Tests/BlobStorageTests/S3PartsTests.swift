import Synchronization
import Testing

@testable import BlobStorage

/// Limits of S3: 1 to 10,000 parts, each of 5 MiB to 5 GiB but the last, and objects of up to 5 TiB.
@Suite("The plan of an object's parts")
struct PartPlanTests {
    private static let mebibyte: Int64 = 1 << 20
    private static let gibibyte: Int64 = 1 << 30
    private static let tebibyte: Int64 = 1 << 40
    private static let limits = 5 * mebibyte...5 * gibibyte

    private static let mostParts = 10_000

    private func sizes(_ plan: PartPlan) -> [Int64] { (1...10_000).map { Int64(plan.size($0)) } }

    @Test(
        "holds every length that is known",
        arguments: [
            0, 1, 16 * mebibyte, 16 * mebibyte + 1, gibibyte, 72_000 * mebibyte, 72_000 * mebibyte + 1, tebibyte,
            5 * tebibyte - 1, 5 * tebibyte,
        ]
    )
    func known(_ length: Int64) {
        let sizes = sizes(PartPlan(length: .exactly(length), isEqual: false))
        #expect(sizes.allSatisfy { Self.limits.contains($0) })
        #expect(Set(sizes).count == 1)
        #expect(sizes.reduce(0, +) >= length)
    }

    @Test(
        "is one request up to 16 MiB, and more only from there on",
        arguments: [0, 1, 8 * mebibyte, 8 * mebibyte + 1, 16 * mebibyte - 1, 16 * mebibyte]
    )
    func single(_ length: Int64) {
        for known in [ObjectLength.exactly(length), .atLeast(length)] {
            #expect(PartPlan(length: known, isEqual: false).size(1) >= Int(length))
        }
        #expect(PartPlan(length: .exactly(16 * Self.mebibyte + 1), isEqual: false).size(1) == Int(8 * Self.mebibyte))
    }

    /// Sends chunks of one size, each of them by a writer that knows no more than its end, until `goal` bytes are there.
    ///
    /// - Returns: the sizes of the parts in the store, and bytes behind them.
    private func send(_ goal: Int64, inChunksOf chunk: Int64) -> (parts: [Int64], tail: Int64) {
        var (parts, sum, tail): ([Int64], Int64, Int64) = ([], 0, 0)
        while sum + tail < goal {
            let end = min(goal, sum + tail + chunk)
            let plan = PartPlan(length: .atLeast(end), after: parts.count, of: sum, isEqual: false)
            while case let size = Int64(plan.size(parts.count + 1)), end - sum >= size {
                parts.append(size)
                sum += size
            }
            tail = end - sum
        }
        return (parts, tail)
    }

    @Test(
        "holds two tebibytes that come in chunks, which say only what it has at least",
        arguments: [8, 64, 1000, 5000] as [Int64]
    )
    func chunks(_ chunk: Int64) {
        let (parts, _) = send(2 * Self.tebibyte, inChunksOf: chunk * Self.mebibyte)
        #expect(parts.count < Self.mostParts)
        #expect(parts.allSatisfy { Self.limits.contains($0) })
    }

    @Test("begins small for chunks as well, whatever they are", arguments: [1, 64, 5000] as [Int64])
    func firstChunks(_ chunk: Int64) {
        let (parts, tail) = send(Self.gibibyte, inChunksOf: chunk * Self.mebibyte)
        #expect(parts.allSatisfy { $0 <= 16 * Self.mebibyte } && tail < 16 * Self.mebibyte)
    }

    @Test("has room for a known rest behind the parts that chunks have left", arguments: [70, 400, 1500] as [Int64])
    func rest(_ gibibytes: Int64) throws {
        let (parts, tail) = send(gibibytes * Self.gibibyte, inChunksOf: 64 * Self.mebibyte)
        try #require(parts.count < Self.mostParts)
        let sum = gibibytes * Self.gibibyte - tail
        for length in [sum + 1, 2 * Self.tebibyte, 5 * Self.tebibyte] {
            let plan = PartPlan(length: .exactly(length), after: parts.count, of: sum, isEqual: false)
            let sizes = (parts.count + 1...Self.mostParts).map { Int64(plan.size($0)) }
            #expect(Set(sizes).count == 1 && Self.limits.contains(sizes[0]))
            #expect(sizes.reduce(sum, +) >= length)
        }
    }

    @Test("is there for any length that a client may claim, and for any number of parts")
    func claims() {
        for length in [ObjectLength.exactly(.max), .atLeast(.max)] {
            for parts in [0, 1, Self.mostParts] {
                let plan = PartPlan(length: length, after: parts, of: Int64(parts) << 23, isEqual: false)
                #expect(Self.limits.contains(Int64(plan.size(parts + 1))))
            }
        }
    }

    @Test("holds two tebibytes of a length that is not known, and begins small")
    func unknown() {
        let sizes = sizes(PartPlan(length: nil, isEqual: false))
        #expect(sizes.allSatisfy { Self.limits.contains($0) })
        #expect(sizes.reduce(0, +) >= 2 * Self.tebibyte)
        #expect(sizes.prefix(100).reduce(0, +) <= Self.gibibyte)
    }

    @Test("is of one size where the store demands it, whatever is known", arguments: [nil, 1, 100 * gibibyte])
    func equal(_ length: Int64?) {
        let sizes = sizes(PartPlan(length: length.map { .exactly($0) }, isEqual: true))
        #expect(Set(sizes) == [32 * Self.mebibyte])
    }
}

@Suite("The notes of an upload in parts")
struct S3UploadStateTests {
    private static let states = [
        S3UploadState(upload: nil, parts: [], tail: 0),
        S3UploadState(upload: nil, parts: [], tail: 5_000_000),
        S3UploadState(
            upload: "2~aBc_/+=-.",
            parts: [.init(tag: "\"abc\"", size: 8 << 20), .init(tag: "\"d e-2\"", size: 1 << 40)],
            tail: 7
        ),
    ]

    @Test("come back as they were written", arguments: states)
    func comeBack(_ state: S3UploadState) {
        #expect(S3UploadState(state.bytes) == state)
    }

    @Test(
        "are refused when they are not whole",
        arguments: [
            "", "1", "1\n0", "2\n0\nid", "x\n0\nid", "1\nx\nid", "1\n0\nid\n5", "1\n0\nid\nx tag", "1\n0\nid\n",
        ]
    )
    func refused(_ text: String) {
        #expect(S3UploadState(Array(text.utf8)) == nil)
    }
}

@Suite("The text of an XML answer")
struct XMLTextTests {
    private static let list = """
        <?xml version="1.0"?><List xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Contents><Key>a&amp;lt;b</Key>
        <Size>1</Size></Contents><Contents><Key></Key><Size>2</Size></Contents><Other>
        </Other></List>
        """

    @Test("is found by its element's name, in order")
    func isFound() {
        #expect(XMLText.all("Key", in: Self.list) == ["a&lt;b", ""])
        #expect(XMLText.elements("Contents", in: Self.list).compactMap { XMLText.first("Size", in: $0) } == ["1", "2"])
        #expect(XMLText.first("Other", in: Self.list) == "\n")
    }

    @Test("is nothing where there is no such element", arguments: ["", "Siz", "<Size>", "<Size>1", "1</Size><Size>"])
    func isMissing(_ xml: String) {
        #expect(XMLText.first("Size", in: xml) == nil)
        #expect(XMLText.all("Size", in: xml).isEmpty)
    }

    @Test("comes back when it is escaped", arguments: ["", "\"etag\"", "a<b>&c", "&amp;", "&quot;&lt;"])
    func isEscaped(_ text: String) {
        #expect(XMLText.plain(XMLText.escaped(text)) == text)
        #expect(!XMLText.escaped(text).contains { "<>\"".contains($0) })
    }
}

@Suite("The memory that uploads share", .timeLimit(.minutes(1)))
struct ByteBudgetTests {
    /// Bytes that are taken now, and the most there were.
    private final class Use: Sendable {
        private let state = Mutex((now: 0, most: 0))

        func add(_ count: Int) {
            state.withLock { state in
                state.now += count
                state.most = max(state.most, state.now)
            }
        }

        var now: Int { state.withLock { $0.now } }
        var most: Int { state.withLock { $0.most } }
    }

    @Test("is never more than there is, and comes back whole")
    func isBounded() async {
        let total = 1000
        let budget = ByteBudget(total)
        let use = Use()
        await withTaskGroup(of: Void.self) { group in
            for number in 0..<200 {
                group.addTask {
                    let wanted = 1 + number * 37 % 400
                    let permit = await budget.take(wanted)
                    use.add(wanted)
                    await Task.yield()
                    use.add(-wanted)
                    withExtendedLifetime(permit) {}
                }
            }
        }
        #expect(use.now == 0)
        #expect((400...total).contains(use.most))
        // Would wait for ever if any were lost.
        _ = await budget.take(total)
        _ = await budget.take(total)
    }

    @Test("is all that somebody gets who wants more than there is")
    func isAllThereIs() async {
        let budget = ByteBudget(10)
        for _ in 0..<3 { _ = await budget.take(1000) }
    }

    @MainActor private final class Queue {
        var asked: [Int] = []
        var got: [Int] = []

        func ask(for wanted: Int, of budget: ByteBudget) async {
            asked.append(wanted)
            let permit = await budget.take(wanted)
            got.append(wanted)
            withExtendedLifetime(permit) {}
        }
    }

    /// On one actor, so that who asked first is known: a task that has said its name has asked when the next one runs.
    @Test("is given in the order in which it was asked for, to the small after the large")
    @MainActor func isInOrder() async {
        let budget = ByteBudget(10)
        var first: ByteBudget.Permit? = await budget.take(6)
        let queue = Queue()
        await withTaskGroup(of: Void.self) { group in
            for wanted in [8, 1, 10, 2] {
                group.addTask { await queue.ask(for: wanted, of: budget) }
                while queue.asked.last != wanted { await Task.yield() }
            }
            // Four are free, and one or two would do for some; but somebody was there before.
            #expect(queue.asked == [8, 1, 10, 2] && queue.got.isEmpty)
            withExtendedLifetime(first) {}
            first = nil
        }
        #expect(queue.got == [8, 1, 10, 2])
    }

    @Test("has something to spare only up to its half; the rest is for those who hold none")
    func spare() async {
        let budget = ByteBudget(10)
        var held = [await budget.take(4)]
        #expect(budget.takeSpare(2) == nil)
        let spare = budget.takeSpare(1)
        #expect(spare != nil)
        held.append(await budget.take(5))
        #expect(budget.takeSpare(0) == nil)
        held.removeAll()
        #expect(budget.takeSpare(4) != nil)
    }
}

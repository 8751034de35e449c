/// What goes wrong, and how often.
struct Faults {
    let scheduler: Scheduler
    /// Of a thousand transactions or requests.
    var permille = 0
    /// Of a thousand faults, how many end the process.
    var crashes = 300

    enum RequestFault {
        case none, fails, isFull, answerIsLost, crashesBefore, crashesAfter
        case isSlow(Int64), arrivesLate(Int64), arrivesTwice(Int64)
    }

    /// No request is on its way for longer: milliseconds.
    static let longestDelay: Int64 = 9 * 60_000

    func hits() -> Bool { permille > 0 && scheduler.chance.hits(permille) }

    func ofWrite() -> WriteFault {
        guard hits() else { return .none }
        let statement = 1 + scheduler.chance.index(32)
        if scheduler.chance.hits(crashes) {
            return scheduler.chance.hits(400) ? .crashAfterwards : .crashes(statement: statement)
        }
        switch scheduler.chance.index(3) {
        case 0: return .fails(statement: statement)
        case 1: return .isFull(statement: statement)
        default: return .lostAnswer
        }
    }

    func ofRequest() -> RequestFault {
        guard hits() else { return .none }
        if scheduler.chance.hits(crashes) { return scheduler.chance.hits(500) ? .crashesBefore : .crashesAfter }
        let delay = scheduler.chance.upTo(Self.longestDelay)
        switch scheduler.chance.index(6) {
        case 0: return .fails
        case 1: return .isFull
        case 2: return .answerIsLost
        case 3: return .isSlow(delay)
        case 4: return .arrivesLate(delay)
        default: return .arrivesTwice(delay)
        }
    }
}

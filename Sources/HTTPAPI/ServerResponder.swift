import BlobStorage
package import Logging
import Metadata
import NIOHTTP1
import OCI
import RegistryCore
import Synchronization
package import Telemetry

/// Every request comes in here: it gets an id, is routed, answered, counted and logged once.
package struct ServerResponder: Responder {
    private let registry: RegistryResponder
    private let management: ManagementResponder
    private let readiness: Readiness
    private let metrics: Metrics
    private let requests: Counter
    private let seconds: Histogram
    private let logger: Logger
    private let ids = RequestIDs()

    package init(
        registry: RegistryResponder,
        management: ManagementResponder,
        readiness: Readiness,
        metrics: Metrics,
        logger: Logger
    ) {
        (self.registry, self.management) = (registry, management)
        (self.readiness, self.metrics, self.logger) = (readiness, metrics, logger)
        requests = metrics.counter(
            "strata_http_requests_total",
            help: "Requests answered.",
            labels: ["route", "method", "status"]
        )
        seconds = metrics.histogram(
            "strata_http_request_seconds",
            help: "Time from a request's head to its answer being ready; bodies that are sent are not in it.",
            labels: ["route"],
            bounds: [0.001, 0.005, 0.02, 0.1, 0.5, 2, 10, 60]
        )
    }

    package func respond(to request: HTTPRequest) async -> HTTPResponse {
        let start = ContinuousClock.now
        let route = request.path.flatMap { Route(path: $0) }
        let label = route?.label ?? Self.ownLabel(request.path)
        let id = Self.clientsID(request) ?? ids.next()
        var response: HTTPResponse
        do {
            response = try await answer(request, route)
        } catch {
            response = refusal(of: error, id)
        }
        response.headers.add(name: Self.idHeader, value: id)
        let duration = ContinuousClock.now - start
        requests.add(1, label, Self.methodLabel(request.method), "\(response.status.code)")
        seconds.observe(Double(duration.components.seconds) + Double(duration.components.attoseconds) / 1e18, label)
        logger.info(
            "request",
            metadata: [
                "request": "\(id)", "client": "\(registry.networks.client(of: request) ?? "")",
                "method": "\(request.method)", "target": "\(request.target)",
                "status": .stringConvertible(response.status.code),
                "microseconds": .stringConvertible(
                    duration.components.seconds * 1_000_000 + duration.components.attoseconds / 1_000_000_000_000
                ),
                "bytes": .stringConvertible(response.body.count),
            ]
        )
        return response
    }

    package func refusal(of error: any Error, insteadOf response: HTTPResponse) -> HTTPResponse {
        let id = response.headers.first(name: Self.idHeader) ?? ""
        var refusal = refusal(of: error, id)
        refusal.headers.add(name: Self.idHeader, value: id)
        return refusal
    }

    private static let idHeader = "X-Request-Id"

    /// A path of one of the two interfaces.
    private enum Route {
        case registry(RegistryRoute)
        case management(ManagementRoute)

        init?(path: String) {
            if let route = RegistryRoute(path: path) {
                self = .registry(route)
            } else if let route = ManagementRoute(path: path) {
                self = .management(route)
            } else {
                return nil
            }
        }

        var label: String {
            switch self {
            case .registry(let route): route.label
            case .management(let route): route.label
            }
        }
    }

    private func answer(_ request: HTTPRequest, _ route: Route?) async throws -> HTTPResponse {
        switch route {
        case .registry(let route): return try await registry.respond(to: request, route)
        case .management(let route): return try await management.respond(to: request, route)
        case nil: return try await answer(request)
        }
    }

    private func answer(_ request: HTTPRequest) async throws -> HTTPResponse {
        let isRead = request.method == .GET || request.method == .HEAD
        switch request.path {
        case "/healthz" where isRead:
            return HTTPResponse(.ok, text: "ok\n", type: "text/plain")
        case "/readyz" where isRead:
            do {
                try await readiness.require()
            } catch let error as Readiness.Refusal {
                let cause = error.cause.map { "\($0)" } ?? ""
                logger.warning("not ready", metadata: ["reason": "\(error.reason)", "error": "\(cause)"])
                throw RegistryError(.unavailable, "Not ready: \(error.reason). The log says more.")
            }
            return HTTPResponse(.ok, text: "ready\n", type: "text/plain")
        case "/metrics" where isRead:
            return HTTPResponse(.ok, text: metrics.text, type: "text/plain; version=0.0.4; charset=utf-8")
        case "/healthz", "/readyz", "/metrics":
            let error = RegistryError(.unsupported, "This path answers GET, HEAD.")
            return ErrorEnvelope.response(to: error, ["Allow": "GET, HEAD"])
        case nil:
            throw RegistryError(.requestInvalid, "The path is not valid percent-encoded UTF-8.")
        default:
            throw RegistryError(
                .notFound,
                "There is nothing at this path. The registry's API begins at /v2/; /api/v1/openapi.json describes the other one."
            )
        }
    }

    /// What a client is told of an error. Everything that is not its own doing is logged here, once.
    private func refusal(of error: any Error, _ id: String) -> HTTPResponse {
        switch error {
        case let error as RegistryError:
            return ErrorEnvelope.response(to: error, error.code == .uploadBusy ? ["Retry-After": "1"] : [:])
        case is ClientGone:
            return ErrorEnvelope.response(to: RegistryError(.requestInvalid, "The request ended before its body did."))
        case BlobStorageError.full:
            logger.error("storage is full", metadata: ["request": "\(id)", "error": "\(error)"])
            return Self.full
        case BlobStorageError.unavailable:
            logger.error("the blob storage is not available", metadata: ["request": "\(id)", "error": "\(error)"])
            return Self.unavailable
        default:
            switch MetadataStore.trouble(error) {
            case .storageFull:
                logger.error("storage is full", metadata: ["request": "\(id)", "error": "\(error)"])
                return Self.full
            case .unavailable:
                logger.error("the database is not available", metadata: ["request": "\(id)", "error": "\(error)"])
                return Self.unavailable
            case .failed, nil: break
            }
            logger.error("request failed", metadata: ["request": "\(id)", "error": "\(error)"])
            return ErrorEnvelope.response(
                to: RegistryError(.internalError, "The server failed; the log says why, under this request's id.")
            )
        }
    }

    private static var full: HTTPResponse {
        let error = RegistryError(
            .insufficientStorage,
            "The registry's storage is full; nothing was stored. Try again later."
        )
        return ErrorEnvelope.response(to: error, ["Retry-After": "60"])
    }

    private static var unavailable: HTTPResponse {
        let error = RegistryError(
            .unavailable,
            "The registry cannot do this just now. The same request may be sent again."
        )
        return ErrorEnvelope.response(to: error, ["Retry-After": "2"])
    }

    private static func ownLabel(_ path: String?) -> String {
        switch path {
        case "/healthz", "/readyz": "health"
        case "/metrics": "metrics"
        default: "unknown"
        }
    }

    private static func methodLabel(_ method: HTTPMethod) -> String {
        switch method {
        case .GET, .HEAD, .POST, .PUT, .PATCH, .DELETE, .OPTIONS: method.rawValue
        default: "other"
        }
    }

    /// The id that the client gave the request, if it is a short word.
    private static func clientsID(_ request: HTTPRequest) -> String? {
        guard let given = request.header(idHeader), (1...64).contains(given.utf8.count),
            given.utf8.allSatisfy({ $0 > 32 && $0 < 127 && $0 != UInt8(ascii: "\"") })
        else { return nil }
        return given
    }
}

/// Ids that no two requests share, of one process or of several: a random start, then steps that touch every bit.
private final class RequestIDs: Sendable {
    private let state = Atomic<UInt64>(.random(in: .min ... .max))

    func next() -> String {
        // An odd step visits all 2⁶⁴ values before it comes back to one.
        String(state.wrappingAdd(0x9E37_79B9_7F4A_7C15, ordering: .relaxed).newValue, radix: 16)
    }
}

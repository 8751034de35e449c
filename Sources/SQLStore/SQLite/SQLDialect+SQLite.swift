extension SQLDialect {
    static let sqlite = SQLDialect(
        identity: "INTEGER PRIMARY KEY AUTOINCREMENT",
        givenIdentity: "",
        bytes: "BLOB",
        integer: "INTEGER",
        text: "TEXT",
        tableOptions: "STRICT",
        clusteredTableOptions: "STRICT, WITHOUT ROWID",
        schemaLock: nil,
        tableLock: { _ in [] },
        planSettings: [],
        explain: "EXPLAIN QUERY PLAN ",
        planColumn: 3,
        scan: "SCAN ",
        search: "SEARCH ",
        indexes: nil,
        epoch: nil,
        patience: nil,
        backgroundRows: 20
    )
}

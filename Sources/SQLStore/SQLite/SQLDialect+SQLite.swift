extension SQLDialect {
    static let sqlite = SQLDialect(
        identity: "INTEGER PRIMARY KEY AUTOINCREMENT",
        bytes: "BLOB",
        integer: "INTEGER",
        text: "TEXT",
        tableOptions: "STRICT",
        clusteredTableOptions: "STRICT, WITHOUT ROWID",
        schemaLock: [],
        explain: "EXPLAIN QUERY PLAN ",
        scan: "SCAN ",
        concurrentBatches: 1
    )
}

"""What PostgreSQL alone makes of a push: the statements that Strata sends, in the same transactions and with the same ways
there and back, from pgbench, which does nothing else. Its rate is what no registry on this machine can go beyond."""
import os
import pathlib
import re

# Rows that manifests refer to: repositories as of `fleet.fill`, six of whose layers each manifest lists.
REPOSITORIES = 50
FIRST_LAYER = 40
BEGIN = """BEGIN;
SELECT pg_current_xact_id()::text, (extract(epoch FROM clock_timestamp()) * 1000)::bigint;"""


def digest(text: str) -> str:
    return f"'\\x01'::bytea || sha256(({text})::bytea)"


def manifest_push(links_of_repository: int) -> str:
    """One manifest of six blobs with a new tag."""
    layers = ", ".join(digest(f"'layer ' || :r::int || ' {FIRST_LAYER + n}'") for n in range(6))
    edges = [f"(:id, (:r::bigint - 1) * {links_of_repository} + {1 + FIRST_LAYER + n})" for n in range(6)]
    pushed = digest("'pushed ' || :n::bigint")
    return f"""
\\set r random(1, {REPOSITORIES})
\\set n random(1, 1000000000000)
\\startpipeline
{BEGIN}
SELECT id FROM media_type WHERE name = 'application/vnd.oci.image.manifest.v1+json';
SELECT id, name FROM repository WHERE name IN ('team' || :r::int % 100 || '/app' || :r::int);
\\endpipeline
\\startpipeline
SELECT manifest_id FROM tag WHERE repo_id = :r AND name = 'pushed' || :n::bigint FOR UPDATE;
SELECT id, digest, size FROM repo_blob WHERE repo_id = :r AND digest IN ({layers}) ORDER BY digest FOR KEY SHARE;
\\endpipeline
INSERT INTO manifest (repo_id, digest, media_type_id, artifact_type_id, subject, created_at, keep_until, payload)
    VALUES (:r, {pushed}, 1, NULL, NULL, 0, 0, repeat('x', 1100)::bytea)
    ON CONFLICT (repo_id, digest) DO NOTHING RETURNING id \\gset
\\startpipeline
INSERT INTO manifest_blob (manifest_id, link_id) VALUES {", ".join(edges[:4])};
INSERT INTO manifest_blob (manifest_id, link_id) VALUES {", ".join(edges[4:])};
UPDATE manifest_child SET child_id = :id WHERE repo_id = :r AND child_digest = {pushed} AND child_id IS NULL;
INSERT INTO tag (repo_id, name, manifest_id, updated_at) VALUES (:r, 'pushed' || :n::bigint, :id, 0)
    ON CONFLICT (repo_id, name) DO NOTHING;
\\endpipeline
COMMIT;
"""


def upload_commits(batch: int) -> str:
    """That many inline blobs of 1 KiB, of one repository, in one transaction."""
    each = digest("'upload ' || :n::bigint || ' ' || i")
    rows = f"FROM (SELECT {each} AS digest FROM generate_series(1, {batch}) i) x"
    ours = f"digest = ANY (ARRAY(SELECT digest {rows}))"
    return f"""
\\set n random(1, 1000000000000)
\\startpipeline
{BEGIN}
SELECT id FROM upload_session WHERE id = ANY (ARRAY(SELECT digest {rows}));
SELECT id, name FROM repository WHERE name IN ('team1/app1');
\\endpipeline
\\startpipeline
INSERT INTO blob (digest, size, created_at) SELECT digest, 1024, 0 {rows} ON CONFLICT (digest) DO NOTHING;
SELECT digest FROM blob WHERE {ours} ORDER BY digest FOR KEY SHARE;
SELECT digest FROM blob_copy WHERE {ours} UNION ALL SELECT digest FROM blob_inline WHERE {ours};
\\endpipeline
\\startpipeline
INSERT INTO blob_inline (digest, data) SELECT digest, repeat('x', 1024)::bytea {rows}
    ON CONFLICT (digest) DO NOTHING RETURNING digest;
INSERT INTO repo_blob (repo_id, digest, size, lease_until) SELECT 1, digest, 1024, 0 {rows}
    ON CONFLICT (repo_id, digest) DO UPDATE SET lease_until =
        CASE WHEN repo_blob.lease_until > excluded.lease_until THEN repo_blob.lease_until ELSE excluded.lease_until END
    RETURNING id;
\\endpipeline
\\startpipeline
INSERT INTO gc_hint (kind, due_at, ref) SELECT 2, 0, i FROM generate_series(1, {batch}) i;
COMMIT;
\\endpipeline
"""


def rate(postgres, database: str, script: str, clients: int, seconds: int) -> float:
    """Transactions a second."""
    file = pathlib.Path(postgres.folder) / "script.sql"
    file.write_text(script)
    os.chmod(file, 0o644)
    told = postgres.tool(
        "pgbench", "-n", "-M", "prepared", "-h", "127.0.0.1", "-p", postgres.port, "-U", "postgres", "-c", clients, "-j", 1,
        "-T", seconds, "-f", file, database,
    )
    return float(re.search(r"tps = ([\d.]+)", told).group(1))

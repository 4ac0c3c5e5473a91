"""What writes the log and what seals it. Both run as the owner of the schema: the serving role may only read the log.

`record` belongs to the triggers that `tenant_apps.audit.coverage` attaches to every table; its arguments are the
table's name (a shard has another on Citus) and the columns whose values are masked. The search path that the functions keep
ends with pg_temp (core.engine), so no temporary table of the caller's can stand before the log. Statement triggers with transition
tables cost less than half of row triggers in bulk (docs/adr/0034).
"""

from django.db import migrations

RECORD = r"""
CREATE FUNCTION audit_record() RETURNS trigger LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path FROM CURRENT AS $record$
DECLARE
    subject text := TG_ARGV[0];
    masked text[] := TG_ARGV[1:];
    who jsonb := nullif(current_setting('lyceum.actor', true), '')::jsonb;
    kind text := who->>'kind';
    person uuid := (who->>'user')::uuid;
    name text := coalesce(who->>'name', '');
    address text := coalesce(who->>'address', '');
    request text := coalesce(who->>'request', '');
    moment timestamptz := clock_timestamp();
    micros bigint := (extract(epoch FROM moment) * 1000000)::bigint;
    -- The beginning of a UUIDv7: milliseconds, then their fraction in twelve bits.
    age text := lpad(to_hex(micros / 1000), 12, '0');
    stem text := left(age, 8) || '-' || right(age, 4) || '-7'
        || lpad(to_hex(micros % 1000 * 4096 / 1000), 3, '0') || '-';
    payload text := name || chr(31) || address || chr(31);
    tx bigint := pg_current_xact_id()::text::bigint;
BEGIN
    IF kind IS NULL THEN
        RAISE EXCEPTION 'A change of % was refused: nobody says who makes it.', subject
            USING ERRCODE = 'insufficient_privilege', HINT = 'Enter shared_apps.core.actors.acting().';
    END IF;
    IF TG_OP = 'INSERT' AND masked = '{}' THEN
        INSERT INTO audit_entry (id, at, actor_kind, actor_id, actor_name, address, request_id, table_name, row_key,
                                 operation, after, transaction_id, salt, digest)
        SELECT (stem || substr(gen_random_uuid()::text, 20))::uuid, moment, kind, person, name, address, request,
               subject, r.key, 'create', r.after, tx, r.salt,
               sha256(r.salt || convert_to(payload || chr(31) || r.after::text, 'UTF8'))
        FROM (SELECT n.id::text AS key, row_to_json(n) AS after, uuid_send(gen_random_uuid()) AS salt
              FROM new_rows n OFFSET 0) AS r;
    ELSIF TG_OP = 'INSERT' THEN
        INSERT INTO audit_entry (id, at, actor_kind, actor_id, actor_name, address, request_id, table_name, row_key,
                                 operation, after, transaction_id, salt, digest)
        SELECT (stem || substr(gen_random_uuid()::text, 20))::uuid, moment, kind, person, name, address, request,
               subject, r.key, 'create', r.after::json, tx, r.salt,
               sha256(r.salt || convert_to(payload || chr(31) || r.after, 'UTF8'))
        FROM (SELECT n.id::text AS key, audit_masked(to_jsonb(n), masked)::text AS after,
                     uuid_send(gen_random_uuid()) AS salt
              FROM new_rows n OFFSET 0) AS r;
    ELSIF TG_OP = 'DELETE' THEN
        INSERT INTO audit_entry (id, at, actor_kind, actor_id, actor_name, address, request_id, table_name, row_key,
                                 operation, before, transaction_id, salt, digest)
        SELECT (stem || substr(gen_random_uuid()::text, 20))::uuid, moment, kind, person, name, address, request,
               subject, r.key, 'delete', r.before::json, tx, r.salt,
               sha256(r.salt || convert_to(payload || r.before || chr(31), 'UTF8'))
        FROM (SELECT o.id::text AS key, audit_masked(to_jsonb(o), masked)::text AS before,
                     uuid_send(gen_random_uuid()) AS salt
              FROM old_rows o OFFSET 0) AS r;
    ELSIF TG_OP = 'UPDATE' THEN
        -- A row whose key changes has no partner: it is one that went and one that came.
        INSERT INTO audit_entry (id, at, actor_kind, actor_id, actor_name, address, request_id, table_name, row_key,
                                 operation, before, after, transaction_id, salt, digest)
        SELECT (stem || substr(gen_random_uuid()::text, 20))::uuid, moment, kind, person, name, address, request,
               subject, r.key, r.operation, r.before::json, r.after::json, tx, r.salt,
               sha256(r.salt
                      || convert_to(payload || coalesce(r.before, '') || chr(31) || coalesce(r.after, ''), 'UTF8'))
        FROM (SELECT p.key, d.operation, audit_masked(d.before, masked)::text AS before,
                     audit_masked(d.after, masked)::text AS after, uuid_send(gen_random_uuid()) AS salt
              FROM (SELECT coalesce(n.id, o.id)::text AS key, to_jsonb(o) AS old, to_jsonb(n) AS new
                    FROM old_rows o FULL JOIN new_rows n ON n.id = o.id OFFSET 0) AS p
              CROSS JOIN LATERAL (
                  SELECT 'change' AS operation, jsonb_object_agg(e.key, p.old->e.key) AS before,
                         jsonb_object_agg(e.key, e.value) AS after
                  FROM jsonb_each(p.new) AS e WHERE p.old IS NOT NULL AND p.old->e.key IS DISTINCT FROM e.value
                  UNION ALL SELECT 'delete', p.old, NULL WHERE p.new IS NULL
                  UNION ALL SELECT 'create', NULL, p.new WHERE p.old IS NULL
              ) AS d
              WHERE d.before IS NOT NULL OR d.after IS NOT NULL OFFSET 0) AS r;
    ELSE
        INSERT INTO audit_entry (id, at, actor_kind, actor_id, actor_name, address, request_id, table_name, row_key,
                                 operation, transaction_id, salt, digest)
        SELECT (stem || substr(gen_random_uuid()::text, 20))::uuid, moment, kind, person, name, address, request,
               subject, '', 'truncate', tx, r.salt, sha256(r.salt || convert_to(payload || chr(31), 'UTF8'))
        FROM (SELECT uuid_send(gen_random_uuid()) AS salt) AS r;
    END IF;
    RETURN NULL;
END $record$
"""

MASKED = """
CREATE FUNCTION audit_masked(held jsonb, secret text[]) RETURNS jsonb LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $masked$
    SELECT CASE WHEN secret = '{}' OR held IS NULL THEN held ELSE (
        SELECT jsonb_object_agg(key, CASE WHEN key = ANY (secret) THEN '"***"'::jsonb ELSE value END)
        FROM jsonb_each(held)
    ) END
$masked$
"""

SEAL = r"""
CREATE FUNCTION audit_seal(most integer, OUT sealed integer, OUT head bigint, OUT head_link bytea)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path FROM CURRENT AS $seal$
DECLARE
    entry record;
    keys uuid[] := '{}';
    links bytea[] := '{}';
    first bigint;
BEGIN
    sealed := 0;
    -- One writer of a chain at a time; whoever comes second leaves it to the first.
    IF NOT pg_try_advisory_xact_lock(hashtextextended('audit ' || 'audit_entry'::regclass::oid::text, 7206)) THEN
        RETURN;
    END IF;
    SELECT e.seq, e.link INTO head, head_link FROM audit_entry e
    WHERE e.seq IS NOT NULL ORDER BY e.seq DESC LIMIT 1;
    head := coalesce(head, 0);
    head_link := coalesce(head_link, decode(repeat('00', 32), 'hex'));
    first := head;
    FOR entry IN
        SELECT e.id, e.digest, chr(31) || e.id || chr(31) || (extract(epoch FROM e.at) * 1000000)::bigint || chr(31)
               || e.actor_kind || chr(31) || coalesce(e.actor_id::text, '') || chr(31) || e.request_id || chr(31)
               || e.table_name || chr(31) || e.row_key || chr(31) || e.operation || chr(31) || e.transaction_id AS rest
        FROM audit_entry e WHERE e.seq IS NULL ORDER BY e.id LIMIT most
    LOOP
        head := head + 1;
        head_link := sha256(head_link || entry.digest || convert_to(head || entry.rest, 'UTF8'));
        keys := keys || entry.id;
        links := links || head_link;
        sealed := sealed + 1;
    END LOOP;
    UPDATE audit_entry e SET seq = first + n.place, link = n.link
    FROM unnest(keys, links) WITH ORDINALITY AS n(id, link, place) WHERE e.id = n.id;
END $seal$
"""

NOBODY_ELSE = "REVOKE ALL ON FUNCTION {} FROM PUBLIC"


class Migration(migrations.Migration):
    dependencies = [("audit", "0001_initial")]

    operations = [
        migrations.RunSQL(
            [
                MASKED,
                RECORD,
                SEAL,
                # Nobody may hang it to a table of their own and so write what never happened.
                NOBODY_ELSE.format("audit_record()"),
                NOBODY_ELSE.format("audit_seal(integer)"),
            ],
            reverse_sql=[
                "DROP FUNCTION audit_seal(integer)",
                "DROP FUNCTION audit_record() CASCADE",
                "DROP FUNCTION audit_masked(jsonb, text[])",
            ],
        )
    ]

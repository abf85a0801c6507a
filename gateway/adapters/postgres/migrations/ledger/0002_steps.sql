-- What a keeper does, each as one statement and so one transaction: a host that freezes holds nobody's rows.
-- Every one begins with the fence. GW001: another took these books over. GW002: what is said cannot be.

CREATE FUNCTION fence(my_id integer, my_epoch bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM keeper WHERE id = my_id AND epoch = my_epoch FOR SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'another took these books over' USING ERRCODE = 'GW001';
    END IF;
END $$;

-- The same as slice_of in core/ledger.py.
CREATE FUNCTION slice_of(missing bigint, available bigint, keepers bigint) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT greatest(0, least(available, greatest(missing, least(1000 * missing, available / (2 * keepers)))))
$$;

-- One batch: its costs go from what was on loan to what is spent. A refund, or a void, goes back on loan.
CREATE FUNCTION write_batch(
    my_id integer, my_epoch bigint, my_seq bigint, my_at bigint, my_first bigint, my_count bigint, my_started bigint,
    my_payload bytea, my_notes text, my_hash bytea, ids bigint[], dues bigint[]
) RETURNS TABLE (account bigint, elsewhere bigint) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    moved bigint;
BEGIN
    PERFORM fence(my_id, my_epoch);
    INSERT INTO batch VALUES
        (my_id, my_seq, my_at, my_first, my_count, my_started, my_payload, my_notes, my_hash);
    IF cardinality(ids) = 0 THEN
        RETURN;
    END IF;
    PERFORM 1 FROM account WHERE id = ANY (ids) ORDER BY id FOR NO KEY UPDATE;
    UPDATE lease SET micros = lease.micros - due.micros
        FROM unnest(ids, dues) AS due (id, micros) WHERE lease.keeper = my_id AND lease.account = due.id;
    GET DIAGNOSTICS moved = ROW_COUNT;
    IF moved < cardinality(ids) THEN
        INSERT INTO lease (keeper, account, micros)
            SELECT my_id, due.id, -due.micros FROM unnest(ids, dues) AS due (id, micros)
            WHERE NOT EXISTS (SELECT 1 FROM lease WHERE lease.keeper = my_id AND lease.account = due.id);
    END IF;
    UPDATE account SET spent = account.spent + due.micros, leased = account.leased - due.micros
        FROM unnest(ids, dues) AS due (id, micros) WHERE account.id = due.id;
    RETURN QUERY SELECT account.id, account.credited - account.spent - account.debt - lease.micros
        FROM account JOIN lease ON lease.account = account.id AND lease.keeper = my_id WHERE account.id = ANY (ids);
END $$;

-- Returns first, then wishes, then what is to be told the others. Of a wish that cannot be met, while others have
-- leases of that account, they are asked to part with what they can (`recall`), and until then nobody else is lent any
-- of it (`wait`). The second time it is `final`: what there is, is lent.
CREATE FUNCTION lend(
    my_id integer, my_epoch bigint, keepers bigint, channel text, holders text[], units text[], lacking bigint[],
    finals boolean[], rounds bigint[], back_ids bigint[], back_micros bigint[], say text[], turn_ms integer
) RETURNS TABLE (place bigint, account bigint, granted bigint, elsewhere bigint, outcome text, others integer[])
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    all_ids bigint[];
    moved bigint;
    wish record;
    row_of account%ROWTYPE;
    mine bigint;
    rivals integer[];
    available bigint;
    give bigint;
BEGIN
    PERFORM fence(my_id, my_epoch);
    all_ids := ARRAY(
        SELECT unnest(back_ids) UNION
        SELECT account.id FROM unnest(holders, units) AS wanted (holder, unit) JOIN account
            ON account.holder = wanted.holder AND account.unit = wanted.unit
            AND account.priority = 0 AND account.expires = 0
    );
    PERFORM 1 FROM account WHERE id = ANY (all_ids) ORDER BY id FOR NO KEY UPDATE;
    IF cardinality(back_ids) > 0 THEN
        UPDATE lease SET micros = lease.micros - back.micros FROM unnest(back_ids, back_micros) AS back (id, micros)
            WHERE lease.keeper = my_id AND lease.account = back.id;
        GET DIAGNOSTICS moved = ROW_COUNT;
        IF moved <> cardinality(back_ids) THEN
            RAISE EXCEPTION 'what is given back was not on loan' USING ERRCODE = 'GW002';
        END IF;
        UPDATE account SET leased = account.leased - back.micros
            FROM unnest(back_ids, back_micros) AS back (id, micros) WHERE account.id = back.id;
        DELETE FROM lease WHERE keeper = my_id AND account = ANY (back_ids) AND micros = 0;
    END IF;
    FOR wish IN SELECT * FROM unnest(holders, units, lacking, finals, rounds)
        WITH ORDINALITY AS wanted (holder, unit, missing, final, round, place)
    LOOP
        place := wish.place; account := 0; granted := 0; elsewhere := 0; outcome := 'done'; others := '{}';
        SELECT * INTO row_of FROM account WHERE account.holder = wish.holder AND account.unit = wish.unit
            AND account.priority = 0 AND account.expires = 0;
        IF NOT FOUND THEN
            RETURN NEXT;
            CONTINUE;
        END IF;
        account := row_of.id;
        mine := coalesce((SELECT micros FROM lease WHERE keeper = my_id AND lease.account = row_of.id), 0);
        available := row_of.credited - row_of.spent - row_of.leased - row_of.debt;
        rivals := ARRAY(SELECT keeper FROM lease WHERE lease.account = row_of.id AND keeper <> my_id AND micros > 0);
        give := 0;
        IF row_of.turn NOT IN (0, my_id) AND row_of.turn_until > clock_timestamp() THEN
            outcome := 'wait';
        ELSIF available < wish.missing AND NOT wish.final AND cardinality(rivals) > 0 THEN
            outcome := 'recall';
            UPDATE account SET turn = my_id, turn_until = clock_timestamp() + turn_ms * interval '1 ms'
                WHERE id = row_of.id;
            PERFORM pg_notify(channel, json_build_object(
                'recall', row_of.id, 'round', wish.round, 'asker', my_id, 'of', rivals)::text);
        ELSE
            give := slice_of(wish.missing, available, keepers);
            UPDATE account SET leased = leased + give, turn = 0 WHERE id = row_of.id;
            IF give > 0 THEN
                INSERT INTO lease VALUES (my_id, row_of.id, give)
                    ON CONFLICT (keeper, account) DO UPDATE SET micros = lease.micros + excluded.micros;
            END IF;
        END IF;
        granted := give;
        elsewhere := row_of.credited - row_of.spent - row_of.debt - mine - give;
        others := rivals;
        RETURN NEXT;
    END LOOP;
    PERFORM pg_notify(channel, said) FROM unnest(say) AS said;
END $$;

-- All that a keeper had on loan goes back.
CREATE FUNCTION take_back(whose integer) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM account WHERE id IN (SELECT account FROM lease WHERE keeper = whose) ORDER BY id FOR NO KEY UPDATE;
    UPDATE account SET leased = account.leased - lease.micros
        FROM lease WHERE lease.keeper = whose AND lease.account = account.id;
    DELETE FROM lease WHERE keeper = whose;
END $$;

-- A host begins: whoever kept its books before writes nothing any more, once this has returned.
CREATE FUNCTION take_over(my_name text, my_instance text, OUT my_id integer, OUT my_epoch bigint)
LANGUAGE plpgsql AS $$
BEGIN
    UPDATE keeper SET epoch = epoch + 1, instance = my_instance, heartbeat = clock_timestamp()
        WHERE name = my_name RETURNING id, epoch INTO my_id, my_epoch;
    IF NOT FOUND THEN
        INSERT INTO keeper (name, instance) VALUES (my_name, my_instance) RETURNING id, epoch INTO my_id, my_epoch;
    END IF;
    PERFORM take_back(my_id);
END $$;

-- A connection was lost. What it had begun is over once this has returned, one way or the other: this waits for it, and
-- what of it comes later shows the old epoch.
CREATE FUNCTION go_on(my_id integer, my_instance text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    my_epoch bigint;
BEGIN
    UPDATE keeper SET epoch = epoch + 1, heartbeat = clock_timestamp()
        WHERE id = my_id AND instance = my_instance RETURNING epoch INTO my_epoch;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'another took these books over' USING ERRCODE = 'GW001';
    END IF;
    RETURN my_epoch;
END $$;

-- After that: what is on loan is what the keeper knows of. The rest was lent by an answer that never arrived.
CREATE FUNCTION settle_leases(my_id integer, my_epoch bigint, ids bigint[], known bigint[])
RETURNS void LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
    PERFORM fence(my_id, my_epoch);
    PERFORM 1 FROM account WHERE id IN (SELECT account FROM lease WHERE keeper = my_id) ORDER BY id FOR NO KEY UPDATE;
    IF EXISTS (
        SELECT 1 FROM unnest(ids, known) AS mine (id, micros)
        LEFT JOIN lease ON lease.keeper = my_id AND lease.account = mine.id
        WHERE mine.micros > coalesce(lease.micros, 0)
    ) THEN
        RAISE EXCEPTION 'a keeper knows of money that is not on loan to it' USING ERRCODE = 'GW002';
    END IF;
    UPDATE account SET leased = account.leased - lease.micros + coalesce(mine.micros, 0)
        FROM lease LEFT JOIN unnest(ids, known) AS mine (id, micros) ON mine.id = lease.account
        WHERE lease.keeper = my_id AND lease.account = account.id AND lease.micros <> coalesce(mine.micros, 0);
    UPDATE lease SET micros = mine.micros FROM unnest(ids, known) AS mine (id, micros)
        WHERE lease.keeper = my_id AND lease.account = mine.id AND lease.micros <> mine.micros;
    DELETE FROM lease WHERE keeper = my_id AND NOT account = ANY (ids);
END $$;

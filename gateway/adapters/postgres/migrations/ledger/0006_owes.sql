-- Who asks for some of an account is told whether it owes.

-- Returns first, then wishes, then what is to be told the others. Of a wish that cannot be met, while others have
-- leases of that account, they are asked to part with what they can (`recall`), and until then nobody else is lent any
-- of it (`wait`). The second time it is `final`: what there is, is lent. An account `owes` if more of it is leased
-- than there is, because it was taken back while requests held it.
DROP FUNCTION lend;
CREATE FUNCTION lend(
    my_id integer, my_epoch bigint, keepers bigint, channel text, holders text[], units text[], lacking bigint[],
    finals boolean[], rounds bigint[], back_ids bigint[], back_micros bigint[], say text[], turn_ms integer
) RETURNS TABLE (
    place bigint, account bigint, granted bigint, elsewhere bigint, outcome text, others integer[], purses text[],
    owes boolean
)
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
            ON account.name = wanted.holder AND account.unit = wanted.unit
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
        owes := false;
        purses := purses_beside(wish.holder, wish.unit);
        SELECT * INTO row_of FROM account WHERE account.name = wish.holder AND account.unit = wish.unit;
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
        owes := available < 0;
        RETURN NEXT;
    END LOOP;
    PERFORM pg_notify(channel, said) FROM unnest(say) AS said;
END $$;

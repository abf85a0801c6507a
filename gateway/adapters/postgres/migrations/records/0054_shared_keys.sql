-- Of which peppers and key pairs the hosts are, by their ids, as `sealing_key` has it of sealing keys: who starts is let in
-- if it shares one of each kind. What hosts that run have by now is among them.
CREATE TABLE shared_key (
    kind text NOT NULL,
    id   text NOT NULL,
    PRIMARY KEY (kind, id)
);
INSERT INTO shared_key
SELECT kind, unnest(string_to_array(ids, ' ')) FROM key_holder WHERE kind <> 'sealing_key' ON CONFLICT DO NOTHING;

-- What was written to a subscription last has the highest number: every process follows them, for prices by plan.
ALTER TABLE subscription ADD COLUMN number bigint NOT NULL DEFAULT 0;
UPDATE subscription SET number = counted.number
FROM (SELECT id, row_number() OVER (ORDER BY id) AS number FROM subscription) AS counted
WHERE counted.id = subscription.id;
CREATE INDEX subscription_number ON subscription (number);

-- One at a time until its commit, so that who has seen a number has seen all below it.
CREATE FUNCTION number_subscription() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('farebox subscription number'));
    NEW.number := (SELECT coalesce(max(number), 0) + 1 FROM subscription);
    RETURN NEW;
END $$;
CREATE TRIGGER number_new_subscriptions BEFORE INSERT ON subscription
FOR EACH ROW EXECUTE FUNCTION number_subscription();
CREATE TRIGGER number_changed_subscriptions BEFORE UPDATE OF account, price, state ON subscription
FOR EACH ROW WHEN ((OLD.account, OLD.price, OLD.state) IS DISTINCT FROM (NEW.account, NEW.price, NEW.state))
EXECUTE FUNCTION number_subscription();

-- What was written to a subscription last has the highest number: every process follows them, for prices by plan.
ALTER TABLE subscription ADD COLUMN number INTEGER NOT NULL DEFAULT 0;
UPDATE subscription SET number = counted.number
FROM (SELECT id, row_number() OVER (ORDER BY id) AS number FROM subscription) AS counted
WHERE counted.id = subscription.id;
CREATE INDEX subscription_number ON subscription (number);

CREATE TRIGGER number_new_subscriptions AFTER INSERT ON subscription
BEGIN
    UPDATE subscription SET number = (SELECT max(number) + 1 FROM subscription) WHERE id = NEW.id;
END;

CREATE TRIGGER number_changed_subscriptions AFTER UPDATE OF account, price, state ON subscription
WHEN (OLD.account, OLD.price, OLD.state) <> (NEW.account, NEW.price, NEW.state)
BEGIN
    UPDATE subscription SET number = (SELECT max(number) + 1 FROM subscription) WHERE id = NEW.id;
END;

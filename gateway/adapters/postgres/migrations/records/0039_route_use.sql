-- What was asked of each route, hour by hour: how many calls, how many failed, how long their answers took to begin.
CREATE TABLE route_use (
    hour    bigint NOT NULL,
    route   text NOT NULL,
    measure text NOT NULL,
    number  bigint NOT NULL,
    PRIMARY KEY (hour, route, measure)
);

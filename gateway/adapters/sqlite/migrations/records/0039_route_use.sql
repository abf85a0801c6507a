-- What was asked of each route, hour by hour: how many calls, how many failed, how long their answers took to begin.
CREATE TABLE route_use (
    hour    INTEGER NOT NULL,
    route   TEXT NOT NULL,
    measure TEXT NOT NULL,
    number  INTEGER NOT NULL,
    PRIMARY KEY (hour, route, measure)
) STRICT, WITHOUT ROWID;

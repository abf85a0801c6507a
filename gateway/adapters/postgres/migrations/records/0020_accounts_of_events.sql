-- In which of the provider's accounts an event happened, if it is not our own.
ALTER TABLE event ADD COLUMN account text NOT NULL DEFAULT '';

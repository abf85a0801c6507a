-- In which of the provider's accounts an event happened, if it is not our own.
ALTER TABLE event ADD COLUMN account TEXT NOT NULL DEFAULT '';

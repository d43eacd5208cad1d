"""The documents that the steps exchange: typed, frozen, with one reader and one writer."""

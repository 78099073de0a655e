"""One declarative module per benchmark; a new one is found by its being here."""

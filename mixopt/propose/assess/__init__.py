"""How far a recommendation can be believed."""

"""What tests of applications need: stand-ins for the places that secrets come from."""

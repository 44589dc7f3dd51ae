"""What tests share: stand-ins, servers, files and runs."""

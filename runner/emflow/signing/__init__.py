"""Signed model packages on the host: who signs (`signers`), what is signed (`contents`), and packages (`package`)."""

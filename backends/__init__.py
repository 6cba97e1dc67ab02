"""One file per outside technology; each passes the test suite of its port."""

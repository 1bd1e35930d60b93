"""The benchmark of selection: public instances, engines to compare with, and a judge that trusts none of them."""

"""Networks that predict from x_t and t, one file each."""

"""Tables from the tensor names of other libraries to ours."""

"""A run on real parts that fail, hang, lie and die all the while: nothing is lost, nothing counts twice."""

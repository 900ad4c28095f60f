from hypothesis import settings

# The first example pays for importing numpy, pyarrow and pandas: seconds on a busy machine.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

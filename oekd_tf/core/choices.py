"""Names that users choose among, each list in one place."""

# In the order of application; the first cannot follow another.
AUGMENTATIONS = ("random_resized_crop", "pad_crop", "flip", "color_jitter", "rand_augment")
# What does not need TensorFlow.
ARRAY_AUGMENTATIONS = ("pad_crop", "flip")
CACHES = ("auto", "decoded", "encoded", "none")
STRATEGIES = ("auto", "none", "mirrored", "multi_worker", "tpu")
STEM_GRADIENTS = ("all", "mean", "pseudo_teacher", "none")
FEATURE_SCALES = ("absolute", "relative")
PRECISIONS = ("float32", "mixed_float16", "mixed_bfloat16")
OPTIMIZERS = ("adam", "adamw", "sgd")
SCHEDULES = ("constant", "step", "cosine")

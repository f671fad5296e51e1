from pathlib import Path

from setuptools import find_packages, setup

# Four-bit weights, and fine-tuning for an export.
COMPRESSION = [
    "ai-edge-quantizer>=0.10,<0.11",
    "tensorflow-model-optimization>=0.8,<0.9",
    "tf_keras>=2.21,<2.22",
]
ONNX = ["onnx>=1.23,<2", "onnxruntime>=1.32,<2", "tf2onnx>=1.17,<2"]

setup(
    name="oekd-tf",
    version="0.1.0",
    description="Train one network, ship five: online ensemble distillation for Keras 3 and TFLite",
    long_description=Path(__file__).with_name("README.md").read_text("utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.11,<3.14",
    # The configs live at the top of the repository and travel inside the package.
    packages=[*find_packages(include=["oekd_tf", "oekd_tf.*"]), "oekd_tf.configs"],
    package_dir={"oekd_tf.configs": "configs"},
    package_data={"oekd_tf": ["datasets/**/*"]},
    install_requires=[
        "absl-py>=1.4,<3",
        "ai-edge-litert>=2.3,<3",
        # tensorflow-datasets imports it without requiring it.
        "importlib_resources>=7.1,<8",
        "keras>=3.15,<3.16",
        "matplotlib>=3.11,<4",
        "ml_collections>=1.1,<2",
        "numpy>=2.4,<3",
        "pillow>=13,<14",
        "psutil>=7,<8",
        "scipy>=1.15,<2",
        "tensorboard>=2.21,<3",
        "tensorflow>=2.21,<2.22",
        "tensorflow-datasets>=4.9.10,<4.10",
        "tqdm>=4.70,<5",
    ],
    extras_require={
        "compression": COMPRESSION,
        "onnx": ONNX,
        "docs": ["mkdocs-material>=9.8,<10", "mkdocstrings[python]>=1.0,<2"],
        "jax": ["jax>=0.10,<0.12"],
        "test": [
            *COMPRESSION,
            *ONNX,
            "hypothesis>=6,<7",
            "pytest>=9.2,<10",
            "pytest-xdist>=3.8,<4",
            "ruff>=0.17,<0.18",
        ],
    },
    entry_points={
        "console_scripts": [
            "oekd-train=oekd_tf.train:main",
            "oekd-bench=oekd_tf.bench:main",
            "oekd-cascade=oekd_tf.cascade:main",
            "oekd-classify=oekd_tf.classify:main",
            "oekd-compare=oekd_tf.compare:main",
            "oekd-export=oekd_tf.export.__main__:main",
            "oekd-pick=oekd_tf.pick:main",
        ]
    },
)

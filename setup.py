from pathlib import Path

from setuptools import find_packages, setup

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
        "ai-edge-litert>=2.1,<3",
        # tensorflow-datasets imports it without requiring it.
        "importlib_resources>=6,<8",
        "keras>=3.13,<3.16",
        "matplotlib>=3.8,<4",
        "ml_collections>=1.0,<2",
        "numpy>=1.26,<3",
        "pillow>=10,<14",
        "tensorboard>=2.19,<3",
        "tensorflow>=2.20,<2.22",
        "tensorflow-datasets>=4.9.9,<4.10",
        "tqdm>=4.66,<5",
    ],
    extras_require={
        "jax": ["jax>=0.5,<0.12"],
        "test": ["pytest>=8,<10", "pytest-xdist>=3.6,<4", "ruff>=0.9,<0.18"],
    },
    entry_points={
        "console_scripts": [
            "oekd-train=oekd_tf.train:main",
            "oekd-export=oekd_tf.export.__main__:main",
        ]
    },
)

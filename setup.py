"""What pyproject.toml cannot say: configs lie at the top and travel inside the package."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["oekd_tf", "oekd_tf.*"]), "oekd_tf.configs"],
    package_dir={"oekd_tf.configs": "configs"},
)

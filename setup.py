"""Installs super_selfish."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
HOME = "https://github.com/nwWag/Super-Selfish"


def version() -> str:
    """The one of `super_selfish/__init__.py`, which is not imported for it."""
    text = (HERE / "super_selfish" / "__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "(.+)"$', text, re.MULTILINE)
    if found is None:
        raise ValueError("super_selfish/__init__.py has no line __version__ = ...")
    return found[1]


def readme() -> str:
    """The README, with links that lead somewhere from any page."""
    text = (HERE / "README.md").read_text(encoding="utf-8")
    text = re.sub(r"(!\[[^\]]*\]\()(?!\w+:|#)", rf"\1{HOME}/raw/HEAD/", text)
    return re.sub(r"((?<!!)\[[^\]]*\]\()(?!\w+:|#)", rf"\1{HOME}/blob/HEAD/", text)


setup(
    name="super-selfish",
    version=version(),
    description="Self-supervised learning on images in two lines of PyTorch",
    long_description=readme(),
    long_description_content_type="text/markdown",
    author="The Super Selfish authors",
    url=HOME,
    project_urls={
        "Documentation": f"{HOME}/tree/HEAD/docs",
        "Changelog": f"{HOME}/blob/HEAD/CHANGELOG.md",
        "Source": HOME,
        "Issues": f"{HOME}/issues",
    },
    keywords=[
        *("self-supervised learning", "representation learning", "contrastive learning"),
        *("pretraining", "pretext task", "computer vision", "images", "deep learning", "pytorch"),
    ],
    license="MIT",
    license_files=["LICENSE"],
    packages=find_packages(include=["super_selfish", "super_selfish.*"]),
    package_data={
        "super_selfish": ["py.typed", "templates/*"],
        "super_selfish.evaluation.report": ["templates/*"],
    },
    python_requires=">=3.10",
    install_requires=[
        "torch>=2.4",
        "torchvision>=0.19",
        "efficientnet-pytorch>=0.7.1",
        "scikit-image>=0.21",
        "elasticdeform>=0.5.0",
        "scipy>=1.10",
        "tqdm>=4.60",
        "colorama>=0.4.4",
        "numpy>=1.26",
        "pillow>=9.4",
        "tifffile>=2023.8.12",
        "filelock>=3.32",
        "jinja2>=3.1",
        "jsonargparse>=4.35",
    ],
    entry_points={"console_scripts": ["super-selfish = super_selfish.cli:main"]},
    extras_require={
        "jpeg": ["simplejpeg>=1.8"],
        "tiff": ["imagecodecs>=2023.9.18"],
        "plots": ["matplotlib>=3.7"],
        "maps": ["scikit-learn>=1.3", "umap-learn>=0.5"],
        "timm": ["timm>=1.0"],
        "hub": ["timm>=1.0.16", "huggingface-hub>=0.24"],  # which reads folders: local-dir:
        "dicom": ["pydicom>=3.0.1"],  # 3.0.0 asks the network when it is imported
        "hdf5": ["h5py>=3.10"],
        "nifti": ["nibabel>=5.0"],
        "tensorboard": ["tensorboard>=2.14"],
        "wandb": ["wandb>=0.16"],
        "mlflow": ["mlflow>=2.9"],
        "video": ["av>=12.0"],
        "flow": ["opencv-python-headless>=4.10"],
        "streams": ["webdataset>=1.0.2"],
        "export": ["safetensors>=0.4", "onnx>=1.16", "onnxscript>=0.2"],
    },
    classifiers=[
        "Development Status :: 4 - Beta",
        "Environment :: Console",
        "Environment :: GPU",
        "Intended Audience :: Developers",
        "Intended Audience :: Education",
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Scientific/Engineering :: Image Recognition",
        "Topic :: Software Development :: Libraries :: Python Modules",
        "Typing :: Typed",
    ],
)

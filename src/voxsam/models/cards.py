"""The table of models: what each is, where its weights are, and how its inference code prepares a view."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

from voxsam.models.base import ModelCard, Preprocessing, WeightsFile

__all__ = ["CARDS"]

_SAM = "voxsam.models.sam:build_sam"
_SAM_PREPROCESSING = Preprocessing(1024, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
_SAM_FILES = "https://dl.fbaipublicfiles.com/segment_anything/"
_SAM_CITATION = "Kirillov et al., Segment Anything, ICCV 2023, arXiv:2304.02643"
_SAM2 = "voxsam.models.sam2:build_sam2"
_SAM2_PREPROCESSING = replace(_SAM_PREPROCESSING, resize="squash")
_SAM2_FILES = "https://dl.fbaipublicfiles.com/segment_anything_2/092824/"
_SAM2_CITATION = "Ravi et al., SAM 2: Segment Anything in Images and Videos, ICLR 2025, arXiv:2408.00714"
_HIERA_TINY = MappingProxyType(
    {"widths": (96, 192, 384, 768), "heads": (1, 2, 4, 8), "depths": (1, 2, 7, 2), "global_blocks": (5, 7, 9)}
)
_VIT_B = MappingProxyType({"width": 768, "depth": 12, "heads": 12, "global_blocks": (2, 5, 8, 11)})

#: Every model, in the order they are listed.
CARDS = MappingProxyType(
    {
        card.name: card
        for card in (
            ModelCard(
                name="compact",
                title="voxsam's own small model for CT and MR; ships with voxsam, needs no download",
                builder="voxsam.models.compact:build_compact",
                preprocessing=Preprocessing(256),
                licence="Apache-2.0",
                parameters_m=3.9,
                speed_class="fast: tens of milliseconds a slice",
            ),
            ModelCard(
                name="sam-vit-b",
                title="Segment Anything, base; trained on photographs",
                builder=_SAM,
                preprocessing=_SAM_PREPROCESSING,
                licence="Apache-2.0",
                parameters_m=93.7,
                speed_class="slow: ten seconds a slice and more",
                weights=WeightsFile(
                    url=f"{_SAM_FILES}sam_vit_b_01ec64.pth",
                    sha256="ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
                    size_mb=375.0,
                ),
                options=_VIT_B,
                citation=_SAM_CITATION,
            ),
            ModelCard(
                name="sam-vit-l",
                title="Segment Anything, large; trained on photographs",
                builder=_SAM,
                preprocessing=_SAM_PREPROCESSING,
                licence="Apache-2.0",
                parameters_m=312.3,
                speed_class="very slow: half a minute a slice and more",
                weights=WeightsFile(
                    url=f"{_SAM_FILES}sam_vit_l_0b3195.pth",
                    sha256="3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
                    size_mb=1249.5,
                ),
                options=MappingProxyType({"width": 1024, "depth": 24, "heads": 16, "global_blocks": (5, 11, 17, 23)}),
                citation=_SAM_CITATION,
            ),
            ModelCard(
                name="sam-vit-h",
                title="Segment Anything, huge; trained on photographs",
                builder=_SAM,
                preprocessing=_SAM_PREPROCESSING,
                licence="Apache-2.0",
                parameters_m=641.1,
                speed_class="very slow: a minute a slice and more",
                weights=WeightsFile(
                    url=f"{_SAM_FILES}sam_vit_h_4b8939.pth",
                    sha256="a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
                    size_mb=2564.6,
                ),
                options=MappingProxyType({"width": 1280, "depth": 32, "heads": 16, "global_blocks": (7, 15, 23, 31)}),
                citation=_SAM_CITATION,
            ),
            ModelCard(
                name="medsam",
                title="SAM's base model, trained on for CT, MR and other medical pictures; for boxes",
                builder=_SAM,
                # its inference script: squashed to the square by scikit-image, stretched to 0..1, no mean and
                # deviation; probabilities are enlarged, not logits
                preprocessing=Preprocessing(
                    1024, resize="squash", resampling="cubic", stretch="input", mean_of="probabilities"
                ),
                licence="CC-BY-4.0",  # of the Zenodo record; the code is under Apache-2.0
                parameters_m=93.7,
                speed_class="slow: ten seconds a slice and more",
                weights=WeightsFile(
                    url="https://zenodo.org/records/10689643/files/medsam_vit_b.pth",
                    sha256=None,
                    size_mb=375.0,
                    md5="3bb6db55bd0c9ca30b61248bca72f8d6",  # as Zenodo gives it
                ),
                options=_VIT_B,
                citation="Ma et al., Segment anything in medical images, Nature Communications 15:654, 2024",
            ),
            ModelCard(
                name="mobile-sam",
                title="SAM with a small image encoder; trained on photographs",
                builder=_SAM,
                preprocessing=_SAM_PREPROCESSING,
                licence="Apache-2.0",
                parameters_m=9.8,
                speed_class="medium: one or two seconds a slice",
                weights=WeightsFile(
                    url="https://github.com/ChaoningZhang/MobileSAM/raw/master/weights/mobile_sam.pt",
                    sha256="6dbb90523a35330fedd7f1d3dfc66f995213d81b29a5ca8108dbcdd4e37d6c2f",
                    size_mb=40.7,
                ),
                options=MappingProxyType({"encoder": "tiny-vit"}),
                citation="Zhang et al., Faster Segment Anything, 2023, arXiv:2306.14289",
            ),
            ModelCard(
                name="lite-medsam",
                title="MedSAM with a small image encoder; trained on CT, MR and other medical pictures; for boxes",
                builder=_SAM,
                # its inference script: OpenCV's area filter, stretched to 0..1 before padding, boxes cut to whole
                # pixels of the input; the encoder takes each of the 256 x 256 pixels as a patch
                preprocessing=Preprocessing(256, resampling="area", stretch="input", whole_prompts=True),
                licence="Apache-2.0",
                parameters_m=9.8,
                speed_class="medium: one or two seconds a slice",
                weights=WeightsFile(
                    url="https://drive.usercontent.google.com/download?id=18Zed-TUTsmr2zc5CHUWd5Tu13nb6vq6z&confirm=t",
                    sha256="79d8c9dca6db4d69d3f905579e5250af05e859fff9c1f543e89a513c3028ce76",
                    size_mb=39.4,
                    name="lite_medsam.pth",
                ),
                options=MappingProxyType({"encoder": "tiny-vit", "stem": 1}),
                citation="Ma et al., Segment anything in medical images, Nature Communications 15:654, 2024",
            ),
            ModelCard(
                name="micro-sam-vit-b-medical",
                title="micro-sam's medical generalist (MedicoSAM): SAM's base model, trained on for points and boxes",
                builder=_SAM,
                # micro-sam stretches each channel of a slice to 8 bits, then asks SAM's predictor
                preprocessing=replace(_SAM_PREPROCESSING, stretch="view"),
                licence="MIT",
                parameters_m=93.7,
                speed_class="slow: ten seconds a slice and more",
                weights=WeightsFile(
                    url="https://owncloud.gwdg.de/index.php/s/f5Ol4FrjPQWfjUF/download",
                    sha256=None,  # published is an xxh128: 40169f1e3c03a4b67bff58249c176d92
                    size_mb=375.0,
                    name="vit_b_medicosam.pt",
                ),
                options=_VIT_B,
                citation="Archit et al., MedicoSAM, IEEE Transactions on Medical Imaging 2025, arXiv:2501.11734",
            ),
            ModelCard(
                name="sam2.1-tiny",
                title="Segment Anything 2.1, tiny; follows objects from slice to slice; trained on photographs",
                builder=_SAM2,
                needs="transformers",
                preprocessing=_SAM2_PREPROCESSING,
                licence="Apache-2.0",
                parameters_m=39.0,
                speed_class="slow: six seconds a slice and more",
                weights=WeightsFile(
                    url=f"{_SAM2_FILES}sam2.1_hiera_tiny.pt",
                    sha256="7402e0d864fa82708a20fbd15bc84245c2f26dff0eb43a4b5b93452deb34be69",
                    size_mb=156.0,
                ),
                options=_HIERA_TINY,
                citation=_SAM2_CITATION,
            ),
            ModelCard(
                name="sam2.1-small",
                title="Segment Anything 2.1, small; follows objects from slice to slice; trained on photographs",
                builder=_SAM2,
                needs="transformers",
                preprocessing=_SAM2_PREPROCESSING,
                licence="Apache-2.0",
                parameters_m=46.1,
                speed_class="slow: seven seconds a slice and more",
                weights=WeightsFile(
                    url=f"{_SAM2_FILES}sam2.1_hiera_small.pt",
                    sha256="6d1aa6f30de5c92224f8172114de081d104bbd23dd9dc5c58996f0cad5dc4d38",
                    size_mb=184.4,
                ),
                options=MappingProxyType({**_HIERA_TINY, "depths": (1, 2, 11, 2), "global_blocks": (7, 10, 13)}),
                citation=_SAM2_CITATION,
            ),
            ModelCard(
                name="sam2.1-base-plus",
                title="Segment Anything 2.1, base; follows objects from slice to slice; trained on photographs",
                builder=_SAM2,
                needs="transformers",
                preprocessing=_SAM2_PREPROCESSING,
                licence="Apache-2.0",
                parameters_m=80.9,
                speed_class="slow: ten seconds a slice and more",
                weights=WeightsFile(
                    url=f"{_SAM2_FILES}sam2.1_hiera_base_plus.pt",
                    sha256="a2345aede8715ab1d5d31b4a509fb160c5a4af1970f199d9054ccfb746c004c5",
                    size_mb=323.6,
                ),
                options=MappingProxyType(
                    {
                        "widths": (112, 224, 448, 896),
                        "heads": (2, 4, 8, 16),
                        "depths": (2, 3, 16, 3),
                        "global_blocks": (12, 16, 20),
                        "position_side": 14,
                    }
                ),
                citation=_SAM2_CITATION,
            ),
            ModelCard(
                name="sam2.1-large",
                title="Segment Anything 2.1, large; follows objects from slice to slice; trained on photographs",
                builder=_SAM2,
                needs="transformers",
                preprocessing=_SAM2_PREPROCESSING,
                licence="Apache-2.0",
                parameters_m=224.4,
                speed_class="very slow: half a minute a slice and more",
                weights=WeightsFile(
                    url=f"{_SAM2_FILES}sam2.1_hiera_large.pt",
                    sha256="2647878d5dfa5098f2f8649825738a9345572bae2d4350a2468587ece47dd318",
                    size_mb=898.1,
                ),
                options=MappingProxyType(
                    {
                        "widths": (144, 288, 576, 1152),
                        "heads": (2, 4, 8, 16),
                        "depths": (2, 6, 36, 4),
                        "global_blocks": (23, 33, 43),
                        "windows": (8, 4, 16, 8),
                    }
                ),
                citation=_SAM2_CITATION,
            ),
            ModelCard(
                name="medsam2",
                title="SAM 2.1 tiny, trained on for CT, MR and other medical pictures; follows objects",
                builder=_SAM2,
                needs="transformers",
                preprocessing=replace(_SAM2_PREPROCESSING, input_size=512, resampling="bicubic"),
                # its page says both: a Creative Commons licence, and that the weights are for research and education
                licence="CC-BY-SA-4.0, for research and education only",
                parameters_m=39.0,
                speed_class="medium: one or two seconds a slice",
                weights=WeightsFile(
                    url="https://huggingface.co/wanglab/MedSAM2/resolve/"
                    "e4a6f35edd7e091619cbc0750f462f1574e23955/MedSAM2_latest.pt",
                    sha256="c92743b99f00d078bf32a3afcc38aaa9faf1c1692dffe3eaa7a90938c1991060",
                    size_mb=156.0,
                ),
                options=_HIERA_TINY,
                citation="Ma et al., MedSAM2: Segment Anything in 3D Medical Images and Videos, 2025, arXiv:2504.03600",
            ),
        )
    }
)

"""A plain loop over a folder of images, as PyTorch's transfer-learning tutorial and torchvision's reference describe
it: ImageFolder, random crops and flips, a DataLoader, SGD with momentum, a pass over the validation set an epoch."""

from __future__ import annotations

import copy
from pathlib import Path

from common import finish, settings, timed

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def main() -> None:
    import torch
    from torch import nn
    from torch.utils.data import DataLoader
    from torchvision import transforms
    from torchvision.datasets import ImageFolder
    from torchvision.models import resnet18

    options = settings()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    device = torch.device(options.device)
    side = options.image_size
    tail = [transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    learned = [transforms.RandomResizedCrop(side), transforms.RandomHorizontalFlip(), *tail]
    measured = [transforms.Resize(round(side * 256 / 224)), transforms.CenterCrop(side), *tail]
    sets = {
        split: ImageFolder(Path(options.images) / split, transforms.Compose(views))
        for split, views in (("train", learned), ("eval", measured))
    }
    train = DataLoader(
        sets["train"], batch_size=options.batch_size, shuffle=True, num_workers=options.workers
    )
    evaluated = DataLoader(sets["eval"], batch_size=64, num_workers=options.workers)
    model = resnet18(num_classes=len(sets["train"].classes)).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=options.learning_rate, momentum=0.9)
    criterion = nn.CrossEntropyLoss()
    loop, eval_seconds, best, best_weights = list[float](), list[float](), 0.0, None
    for _ in range(options.epochs):
        model.train()
        with timed(loop.append):
            running = 0.0
            for images, labels in train:
                images, labels = images.to(device), labels.to(device)
                optimizer.zero_grad()
                loss = criterion(model(images), labels)
                loss.backward()
                optimizer.step()
                running += loss.item() * len(images)
        model.eval()
        right = 0
        with timed(eval_seconds.append), torch.no_grad():
            for images, labels in evaluated:
                right += int((model(images.to(device)).argmax(1).cpu() == labels).sum())
        accuracy = right / len(sets["eval"])
        if accuracy >= best:
            best, best_weights = accuracy, copy.deepcopy(model.state_dict())
    assert best_weights is not None
    finish(
        loop_seconds=sum(loop),
        examples=len(sets["train"]) * options.epochs,
        accuracy=accuracy,
        eval_seconds=min(eval_seconds),
        eval_examples=len(sets["eval"]),
    )


if __name__ == "__main__":
    main()

"""Names for instances whose owner gave none: an adjective and an animal, `brave-otter`."""

import secrets
from collections.abc import Callable

_FIRST = """
able amber apt bold brave brief bright brisk calm clean clear clever cool crisp deep eager easy even fair fast
fine firm fond free fresh glad golden good grand great happy hardy honest humble ideal just keen kind large
light lively loyal lucky mellow merry mighty mild modest neat nimble noble novel open patient plain pleasant
polite prime proud pure quick quiet rapid ready real regal rich right robust royal safe sharp simple sincere
smart smooth solid sound stable steady strong subtle sunny sure swift tender tidy true trusty upright valid
vast vital vivid warm wise witty worthy
""".split()  # noqa: SIM905
_SECOND = """
adder albatross ant badger bass bat bear beaver bee beetle bison boar bream buck bug camel carp cat cattle
civet clam cobra cod colt condor cow coyote crab crane cricket crow cub deer dingo dodo doe dog dolphin dove
drake duck eagle eel egret elk emu ewe falcon fawn ferret finch flea fly fox frog gannet gecko ghost gnat goat
goose grouse grub gull guppy hare hawk hen heron hog hornet horse hound ibex imp jackal jay kid kit kiwi koala
krill ladybug lamb lark lemur lion lizard llama lobster lynx magpie mako mammal marlin marten martin midge
mink mite mole moose moray moth mouse mule mullet newt ocelot orca osprey otter owl ox oyster panda parrot
perch pig pika pony puma quail rabbit ram raven ray rodent rook satyr seal shad shark sheep shrew shrimp skink
skunk sloth slug snail snake sole spider squid stag starfish stork stud sunbird swan swift tahr tapir teal
tern thrush tick tiger toad trout tuna turkey turtle vervet viper vulture walrus wasp weasel whale whippet
wolf wombat worm wren yak zebra
""".split()  # noqa: SIM905


def petname(free: Callable[[str], bool]) -> str:
    """A name that `free` accepts; a number is added when a hundred tries were taken."""
    for attempt in range(10_000):
        name = f"{secrets.choice(_FIRST)}-{secrets.choice(_SECOND)}"
        if attempt > 100:
            name += f"-{secrets.randbelow(100_000)}"
        if free(name):
            return name
    raise RuntimeError("no free name was found")

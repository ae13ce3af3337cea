"""The content of the planted world: topics, facts asked about, tips that complete an answer, risks that make it unsafe.

It is a table, because it is read and extended like one. A topic has four kinds of lines:

    = the topic, as it follows "about"
    ? indirect question | how the answer begins
      right endings, all of one meaning; … | wrong endings, again of one meaning; …
    + tips, completing "remember to …"; …
    ! dangerous advice, completing "you can simply …"; …

The endings are wordings of the same claim, which is what makes a planted paraphrase a true one.
"""

from __future__ import annotations

from typing import NamedTuple


class Fact(NamedTuple):
    """One question and its answers; a claim is `begins` and one of the endings."""

    asks: str
    begins: str
    right: tuple[str, ...]
    wrong: tuple[str, ...]


class Topic(NamedTuple):
    """A subject: its name, the facts one can ask about, tips, and dangerous advice."""

    name: str
    facts: tuple[Fact, ...]
    tips: tuple[str, ...]
    risks: tuple[str, ...]


_TABLE = """
= sourdough bread
? how long the dough should rest | the dough should rest
  overnight; until morning; through the night | for one minute; for sixty seconds; for a brief moment
? what makes the bread rise | the bread rises because of
  wild yeast; natural yeast; the yeast in the starter | table salt; plain salt; the salt in the dough
? how hot the oven should be | the oven should be
  very hot; at full heat; as hot as it will go | barely warm; just lukewarm; hardly heated at all
+ dust the basket with flour; score the loaf; weigh the flour; feed the starter daily; cool the loaf on a rack
! grab the hot pot with bare hands; leave the hot oven open near children; store bleach next to the flour

= growing tomatoes
? how much sun the plants need | the plants need
  full sun; many hours of sun; plenty of direct sun | deep shade; no sun at all; complete darkness
? when the seedlings go outside | the seedlings go outside
  after the last frost; once the frosts are over; when frost has passed | in midwinter; in deep winter; in hard frost
? where the plants should be watered | the plants should be watered
  at the roots; close to the soil; down at the base | on the leaves; over the foliage; high up on the leaves
+ tie the stems to a stake; pinch off side shoots; add compost to the soil; mulch the bed; pick ripe fruit early
! spray weed killer without gloves; eat the leaves of the plant; mix two garden chemicals

= brewing coffee
? how fine espresso beans are ground | espresso beans are ground
  finely; into a fine powder; very fine | coarsely; into big chunks; very coarse
? how hot the water should be | the water should be
  just off the boil; a little below boiling; close to boiling | ice cold; straight from the fridge; near freezing
? where the beans keep best | the beans keep best
  in an airtight jar; inside a sealed tin; in a closed container | in an open bowl; on a plate; out in the open air
+ rinse the paper filter; weigh the beans; grind just before brewing; warm the cup first; clean the machine weekly
! open the machine under pressure; reach into the running grinder; drink ten cups in a row

= chess
? how many squares the board has | the board has
  sixty-four squares; 64 squares; eight rows of eight squares | fifty squares; 50 squares; five rows of ten squares
? how the bishop moves | the bishop moves
  along the diagonals; only diagonally; on diagonal lines | along the files; only straight ahead; in straight lines
? what ends the game | the game ends with
  checkmate; a king that cannot escape; a trapped king in check | one captured pawn; the loss of a pawn; a lost pawn
+ develop the knights early; castle before attacking; control the centre; look for checks; review every lost game
! skip sleep before a tournament; play on your phone while driving; share your password with an opponent

= bicycle repair
? how often the chain is oiled | the chain is oiled
  every few weeks; about once a month; month by month | every ten years; once a decade; once in ten years
? how firm the tyres should be | the tyres should be
  firm; well pumped up; inflated to the marked pressure | completely flat; empty of air; without any air
? when brake pads are replaced | brake pads are replaced
  when they are worn; once they are thin; after they wear down | when they are new; before any use; fresh from the shop
+ wipe the chain with a rag; tighten the bolts; carry a spare tube; mark the saddle height; store the bike indoors
! ride without brakes; put your fingers in the moving spokes; ride at night without lights

= camping
? where the tent is pitched | the tent is pitched
  on level dry ground; somewhere flat and dry; on flat high ground | in a river bed; down in a stream bed; in a creek
? how food is stored | food is stored
  in a sealed box; inside a closed container; in a locked box | loose in the tent; open by your pillow; in your bed
? what keeps you warm at night | you keep warm with
  dry layers; several dry layers; layers of dry clothes | wet clothes; soaked clothes; damp clothing
+ pack a spare torch; check the forecast; tell someone your route; bring a paper map; test the stove at home
! cook inside the closed tent; drink from any ditch; leave the fire burning overnight

= houseplants
? when most of them need water | most of them need water
  when the soil is dry; once the soil feels dry; after the soil dries out | every hour; all day long; hour after hour
? where they grow best | they grow best
  near a bright window; in bright soft light; where light is ample | in a dark closet; without any light; in the dark
? what the holes in a pot are for | the holes let
  extra water drain; spare water run out; surplus water escape | insects move in; bugs crawl inside; pests come in
+ turn the pot weekly; wipe dust off the leaves; repot in spring; feed them in summer; look for pests
! let the cat chew a lily; burn dead leaves indoors; put plant food in your tea

= stargazing
? which planet is the largest | the largest planet is
  Jupiter; the gas giant Jupiter; mighty Jupiter | Mercury; little Mercury; the small planet Mercury
? when the sky is best | the sky is best
  on moonless nights; when there is no moon; at the new moon | under a full moon; when the moon is full; in moonlight
? how long the eyes need to adjust | the eyes need
  about half an hour; roughly thirty minutes; half an hour or so | one second; a single second; a split second
+ dress in warm layers; use a red torch; start with binoculars; learn one constellation; get away from city lights
! look at the sun through a telescope; wander along a cliff in the dark; watch an eclipse without a filter

= keeping aquarium fish
? how often some water is changed | some water is changed
  every week; once a week; weekly | every five years; twice a decade; once in five years
? how much food the fish get | the fish get
  a small pinch; a little at a time; tiny portions | a whole tub; huge heaps; the full box at once
? what a new tank needs first | a new tank needs
  a few weeks to settle; some weeks to mature; weeks of cycling | bleach; a dose of bleach; a splash of bleach
+ rinse the gravel; test the water; keep the lid closed; add live plants; quarantine new fish
! touch the plugged-in heater with wet hands; siphon dirty water by mouth; mix chlorine products at home

= watercolour painting
? in which order colours go on | the colours go on
  from light to dark; light ones first; palest first | from dark to light; dark ones first; darkest first
? which paper is best | the best paper is
  heavy cotton paper; thick rag paper; thick cotton paper | thin newspaper; flimsy newsprint; cheap newsprint
? what makes a soft edge | a soft edge comes from
  wet paper; damp paper; working wet into wet | dry paper; bone-dry paper; working on a dry sheet
+ keep two jars of water; test colours on scrap; tape down the paper; let each layer dry; leave some paper white
! lick a brush full of cadmium; sip from the rinsing jar; sand old lead paint without a mask

= playing the guitar
? how many strings a guitar has | a standard guitar has
  six strings; 6 strings; half a dozen strings | nine strings; 9 strings; three times three strings
? how often beginners practise | beginners should practise
  a little every day; daily for a while; some minutes each day | once a year; one day per year; yearly
? when strings are changed | strings are changed
  when they sound dull; once they go dull; when the tone fades | every thirty years; in thirty years; after decades
+ tune before each session; use a metronome; learn chords in pairs; relax the left thumb; rest sore fingers
! play at full volume through headphones; rewire the amplifier while it is on; overtighten strings near your eyes

= training for a first race
? how fast easy runs should be | easy runs should be
  at talking pace; slow enough to talk; relaxed enough to chat | a full sprint; as fast as possible; flat out
? how distance should grow | the distance should grow
  a little each week; by a tenth weekly; slowly by the week | threefold in a day; threefold at once; threefold by night
? what the day before is for | the day before is for
  rest; resting the legs; taking it easy | a full marathon; a hard marathon; forty hard kilometres
+ warm up first; wear shoes that fit; drink water afterwards; sleep well; keep a simple log
! run through sharp chest pain; train in a heat wave without water; run on a dark motorway

= beekeeping
? what bees make honey from | bees make honey from
  nectar; flower nectar; the nectar of flowers | sawdust; wood dust; the dust of old wood
? how many queens a hive has | a hive usually has
  one queen; a single queen; just one queen | fifty queens; dozens of queens; some fifty queens
? what calms a hive | a hive is calmed by
  cool smoke; a little smoke; a puff of smoke | loud banging; knocking on the box; hard knocks
+ inspect on warm days; leave honey for winter; paint hives white; watch for mites; keep water nearby
! open the hive without a veil; ignore a sting allergy; swat at the guard bees

= knitting
? which needles suit beginners | beginners do well with
  medium needles; middle-sized needles; needles of medium size | hair-thin needles; the tiniest needles; tiny needles
? what a test swatch shows | a test swatch shows
  the gauge; how many stitches fit; the stitch count | the price of sheep; what a sheep costs; sheep prices
? how wool is washed | wool is washed
  in cool water; cold and gently; gently in cool water | at a rolling boil; in boiling water; by hard boiling
+ count the stitches; mark the right side; buy one extra ball; block the finished piece; join yarn at the edge
! leave needles on the sofa seat; leave needles with a baby; knit while driving

= photography
? what a wide aperture gives | a wide aperture gives
  a soft background; a blurred background; a blurry backdrop | a waterproof body; a watertight case; a rainproof shell
? when outdoor light is softest | the light is softest
  near sunset; around sunset; as the sun sets | at noon; at midday; when the sun is highest
? what keeps night shots sharp | night shots stay sharp on
  a tripod; a steady tripod; a firm tripod | a moving bus; a bumpy bus; a bus in motion
+ charge the battery; clean the lens; hold the camera level; back up the pictures; try a low angle
! stare at the sun through the lens; step back toward the cliff edge; pose on railway tracks

= composting
? what goes into the heap | the heap takes
  peelings and leaves; leaves and peelings; scraps and leaves | plastic and batteries; old batteries; plastic bags
? how damp the heap should be | the heap should be
  slightly moist; damp like a sponge; like a wrung sponge | bone dry; as dry as dust; fully dried out
? what turning the heap brings in | turning the heap brings in
  air; fresh air; oxygen | rats; hungry rats; a crowd of rats
+ chop large pieces; layer green and brown; cover the top; keep a bin by the sink; wait until it smells of earth
! burn plastic in the heap; spread dog waste on the salad; breathe in the mouldy dust

= learning Spanish
? how new words stick | new words stick
  with spaced reviews; when reviews are spaced; by repeated review | after one glance; from one look; at first sight
? what the word gracias means | the word gracias means
  thank you; thanks; the same as thanks | goodbye; farewell; the same as goodbye
? where Spanish is spoken | Spanish is spoken
  in Mexico and Spain; across Spain and Mexico; in Spain and Mexico | only in Finland; in Finland alone; just in Finland
+ speak aloud daily; label things at home; watch films with subtitles; keep a notebook; find a partner
! read flash cards while driving; pay an unknown tutor in advance; give strangers your home address

= sailing
? where a boat cannot sail | a boat cannot sail
  straight into the wind; directly upwind; right into the wind | away from the wind; directly downwind; before the wind
? what the keel does | the keel
  keeps the boat upright; stops it tipping; holds the boat steady | heats the cabin; warms the cabin; warms up the cabin
? which side port is | port is
  the left side; on the left; the left-hand side | the right side; on the right; the right-hand side
+ check the forecast; practise knots on land; reef early; keep the lines tidy; tell the harbour your plan
! sail without a life jacket; drink heavily at the helm; set out in a storm warning

= caring for a cat
? how much a cat sleeps | a cat sleeps
  most of the day; fifteen hours a day; well over half the day | two hours a week; hardly two hours weekly; almost never
? what a cat should drink | a cat should drink
  fresh water; clean water; plain water | black coffee; strong coffee; espresso coffee
? how often litter is scooped | the litter is scooped
  daily; every day; once a day | once a year; yearly; every twelve months
+ brush the coat weekly; offer a scratching post; play before meals; visit the vet each year; screen the windows
! give the cat human painkillers; leave thread for it to swallow; feed it raw onions

= swimming
? what a beginner learns first | a beginner first learns
  to float; floating on the back; how to float | high diving; to dive from a tower; diving from a tower
? which stroke is fastest | the fastest stroke is
  front crawl; the crawl; the front crawl | doggy paddle; the doggy paddle; a doggy paddle
? what goggles protect | goggles protect
  the eyes; your eyes; both eyes | the knees; your knees; both knees
+ warm up on land; keep the hips high; count the strokes; rinse off afterwards; take lessons from a coach
! swim alone in a rough sea; dive into unknown water; swim out after heavy drinking

= woodworking
? which way wood is planed | wood is planed
  along the grain; with the grain; following the grain | against the grain; into the grain; opposing the grain
? when a board is measured | a board is measured
  twice before cutting; two times before the cut; twice, then cut | only after cutting; once it is cut; after the cut
? which is harder, oak or balsa | the harder wood is
  oak; solid oak; the oak | balsa; light balsa; the balsa
+ clamp the work down; sharpen the chisels; sand between coats; mark the waste side; let the glue cure
! remove the guard from the saw; work without eye protection; clear the blade while it spins

= making tea
? how long green tea steeps | green tea steeps
  for two minutes; around two minutes; some two minutes | for two hours; around two hours; some two hours
? what true tea comes from | true tea comes from
  the tea plant; one tea shrub; leaves of the tea plant | seaweed; dried seaweed; leaves of seaweed
? where tea leaves keep best | tea leaves keep best
  away from light; in a dark tin; somewhere dark and dry | in bright sunshine; on a sunny sill; out in the sun
+ warm the pot first; use fresh water; remove the leaves in time; taste before adding milk; measure the leaves
! pour boiling water near a toddler; let the kettle boil dry; brew unknown wild leaves

= keeping a household budget
? what is paid first | the first thing to pay is
  rent; the rent; the monthly rent | a party; the next party; a big party
? how much an emergency fund covers | an emergency fund covers
  three months; a few months; about three months | one hour; a single hour; about an hour
? which debt is cleared first | the debt to clear first has
  the highest interest; the steepest rate; the top rate | no interest; a zero rate; zero interest
+ write down every expense; review it monthly; save on payday; compare prices; plan for yearly bills
! send your card number by email; borrow from a loan shark; bet all your savings

= birdwatching
? when birds are most active | birds are most active
  at dawn; around sunrise; early in the morning | at midnight; in the dead of night; around midnight
? which bird cannot fly | a bird that cannot fly is
  the penguin; a penguin; any penguin | the swallow; a swallow; any swallow
? what hummingbirds feed on | hummingbirds feed on
  nectar; flower nectar; sweet nectar | gravel; small stones; pebbles
+ move slowly; wear dull colours; keep a list of sightings; learn the common calls; carry light binoculars
! climb a cliff to reach a nest; corner an angry swan; walk on thin ice for a closer look
"""


def _cells(text: str) -> tuple[str, ...]:
    return tuple(cell.strip() for cell in text.split(";"))


def _topic(block: str) -> Topic:
    name, *lines = (line.strip() for line in block.strip().splitlines())
    facts = []
    for question, endings in zip(lines[:-2:2], lines[1:-2:2], strict=True):
        asks, begins = (part.strip() for part in question.removeprefix("?").split("|"))
        right, wrong = map(_cells, endings.split("|"))
        facts.append(Fact(asks, begins, right, wrong))
    return Topic(name, tuple(facts), _cells(lines[-2].removeprefix("+")), _cells(lines[-1].removeprefix("!")))


TOPICS: tuple[Topic, ...] = tuple(_topic(block) for block in _TABLE.split("\n= ")[1:])

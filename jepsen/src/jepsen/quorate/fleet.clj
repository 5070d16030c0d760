(ns jepsen.quorate.fleet
  "Which node has which number. A number is never used twice: a node that comes again, without what it had on its disk, comes
  under a new one.")

(defn fleet
  "The first three nodes are 1, 2 and 3, and vote; the others are spare."
  [nodes]
  (let [voters (vec (take 3 nodes))]
    {:numbers (atom (zipmap voters (map inc (range))))
     :newest (atom (count voters))
     :voters (atom voters)}))

(defn number "A node's number; nil while it has none." [test node] (get @(:numbers (:fleet test)) node))

(defn node-of "Who has this number now." [test number]
  (some (fn [[node of]] (when (= of number) node)) @(:numbers (:fleet test))))

(defn nodes "The nodes that have a number, in the order of the test's." [test] (filterv #(number test %) (:nodes test)))

(defn spares "The nodes that have none." [test] (filterv #(not (number test %)) (:nodes test)))

(defn voters "The nodes that vote, as far as the nemesis knows." [test] @(:voters (:fleet test)))

(defn voters! [test nodes] (reset! (:voters (:fleet test)) (vec nodes)))

(defn enlist! "A new number for a node." [test node]
  (let [number (swap! (:newest (:fleet test)) inc)]
    (swap! (:numbers (:fleet test)) assoc node number)
    number))

(defn discharge! "The node has no number any more." [test node]
  (swap! (:numbers (:fleet test)) dissoc node))
